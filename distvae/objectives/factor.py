"""FactorVAE: the total correlation, told by a network that is trained beside the model.

Legend: B batch (the global one where latents are gathered), C channels, H height, W width, Z
latent dimensions.
"""

import itertools
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distvae.batch import Batch
from distvae.distributions import full_precision
from distvae.models import VAE
from distvae.objectives.base import Loss, Objective, frozen, one_draw
from distvae.parts import INDEPENDENT, ONE_LEVEL, WHOLE_BATCH, Part
from distvae.players import Player, Pressure, RunFacts
from distvae.values import LARGEST, Decay, NotNegative, Positive, Widths, Within


@dataclass(frozen=True)
class FactorPart(Part):
    """The bound and the total correlation, by a network trained beside the model (FactorVAE)."""

    name = "factor"
    builds = "Factor"
    traits = ("takes_terms", "adds_distortion")
    needs = (INDEPENDENT, ONE_LEVEL, *WHOLE_BATCH)

    penalty: NotNegative | None = None
    """Gamma, the weight of the total correlation; left out: 10."""
    discriminator: Widths = (256, 256, 256)
    """Widths of the dense layers that tell how far the latents are from independent."""
    discriminator_learning_rate: Positive | None = None
    """Peak learning rate of the discriminator; left out: --learning-rate. The paper has 1e-4 of a
    constant schedule."""
    discriminator_schedule: Literal["constant", "cosine", "burda"] | None = None
    """Path of its learning rate, after the warm-up of the run; left out: --schedule."""
    discriminator_betas: Annotated[tuple[Decay, ...], Within(2, 2)] | None = None
    """Decays of its first and second moment in Adam; left out: `0.9,0.999`. The paper has
    `0.5,0.9`."""
    discriminator_start: Annotated[int, Within(0, LARGEST)] | None = None
    """Steps of the run before its first; until then the model is trained without the term that it
    adds; left out: 0."""
    discriminator_steps: Annotated[int, Within(1, 2**10)] | None = None
    """Its steps in each step of the run, all on the same batch, each further one a pass through the
    model too; left out: 1."""

    def left_out(self) -> dict[str, Any]:
        """Gamma."""
        return {"penalty": 10.0}


class Factor(Objective):
    """FactorVAE of Kim and Mnih 2018 (arXiv:1802.05983, eq. 2 and 3).

    The bound plus ``penalty`` times the total correlation of q(z), which is the mean over the batch
    of the discriminator's logit: it tells z of q(z) from z whose dimensions come from different
    images, and at its best its logit is the log-ratio of the two densities.

    The discriminator is a player of its own: its learning rate, schedule, moments, first step and
    steps for each of the model are settings. Left out, all are those of the model. The paper takes
    Adam at a constant 1e-4 with betas 0.5 and 0.9 (``discriminator_learning_rate``,
    ``discriminator_schedule``, ``discriminator_betas``). Both learn from the same latents, where
    algorithm 2 of the paper takes a second batch for the discriminator. Until its first step the
    model is trained by the bound alone.
    """

    def __init__(self, facts: RunFacts) -> None:
        super().__init__(facts)
        self.own = facts.config.of(FactorPart)
        widths = (facts.levels[0].size, *self.own.discriminator)
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise(widths):
            layers += [nn.Linear(before, after), nn.LeakyReLU(0.2)]
        self.discriminator = nn.Sequential(*layers, nn.Linear(widths[-1], 1))
        self.players["discriminator"] = player(self.own)

    def losses(self, model: VAE, batch: Batch, pressure: Pressure) -> Loss:
        """The model's loss and the discriminator's."""
        terms = model.terms(batch)
        bound = self.bound(terms, pressure)
        penalty = self.own.penalty
        assert penalty is not None
        with full_precision(batch.stored.device.type):
            z = self.facts.gather(one_draw(terms).z)
            total_correlation = frozen(self.discriminator)(z).mean()
            own = discriminator_loss(self.discriminator, z.detach())
        heard = pressure.since(self.players["discriminator"].start)
        extras = {"total_correlation": total_correlation, "discriminator_loss": own}
        return bound.plus(penalty * heard * total_correlation, extras, discriminator=own)


def player(own: FactorPart) -> Player:
    """How the discriminator is trained, where it is left out as the model."""
    first, second = own.discriminator_betas or Player.betas
    return Player(
        learning_rate=own.discriminator_learning_rate,
        schedule=own.discriminator_schedule,
        betas=(first, second),
        start=own.discriminator_start or 0,
        steps=own.discriminator_steps or 1,
    )


def discriminator_loss(discriminator: nn.Module, z: Tensor) -> Tensor:
    """Cross-entropy of telling rows of ``z [B, Z]`` from rows with shuffled dimensions, nats."""
    real, shuffled = discriminator(z), discriminator(shuffle_dimensions(z))
    return 0.5 * (F.softplus(-real).mean() + F.softplus(shuffled).mean())


def shuffle_dimensions(z: Tensor) -> Tensor:
    """``[B, Z]`` with the dimensions of a row from different rows, as far as there are enough.

    Dimension j comes from j + 1 rows further on. The rows of a batch are in random order, so this
    is as good as a permutation for each dimension (their algorithm 1), and needs no random numbers.
    """
    size, dim = z.shape
    rows = torch.arange(size, device=z.device)[:, None] + torch.arange(1, dim + 1, device=z.device)
    return z.gather(0, rows % size)
