"""FactorVAE: the total correlation, told by a network that is trained beside the model.

Legend: B batch (the global one where latents are gathered), C channels, H height, W width, Z
latent dimensions.
"""

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distvae.batch import Batch
from distvae.config import ObjectiveConfig
from distvae.distributions import full_precision
from distvae.models import VAE
from distvae.objectives.base import Loss, Objective, Player, Pressure, RunFacts, frozen


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
        widths = (facts.latent_dim, *facts.config.discriminator)
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise(widths):
            layers += [nn.Linear(before, after), nn.LeakyReLU(0.2)]
        self.discriminator = nn.Sequential(*layers, nn.Linear(widths[-1], 1))
        self.players["discriminator"] = player(facts.config)

    def forward(self, model: VAE, batch: Batch, pressure: Pressure) -> Loss:
        """The model's loss and the discriminator's."""
        terms = model.terms(batch)
        bound = self.bound(terms, pressure)
        penalty = self.facts.config.penalty
        assert penalty is not None
        with full_precision(batch.stored.device.type):
            z = self.facts.gather(terms.z)
            total_correlation = frozen(self.discriminator)(z).mean()
            own = discriminator_loss(self.discriminator, z.detach())
        loss = bound.loss + penalty * pressure.heard * total_correlation
        extras = {"total_correlation": total_correlation, "discriminator_loss": own}
        return Loss(loss, bound.distortion, bound.rate, extras, {"discriminator": own})


def player(config: ObjectiveConfig) -> Player:
    """How the discriminator is trained, where it is left out as the model."""
    first, second = config.discriminator_betas or Player.betas
    return Player(
        learning_rate=config.discriminator_learning_rate,
        schedule=config.discriminator_schedule,
        betas=(first, second),
        start=config.discriminator_start or 0,
        steps=config.discriminator_steps or 1,
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
