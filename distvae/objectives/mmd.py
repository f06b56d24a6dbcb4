"""InfoVAE: the bound and the maximum mean discrepancy of q(z) and the prior.

Legend: B batch (the global one where latents are gathered), C channels, H height, W width, Z
latent dimensions.

The term of the aggregate posterior q(z), the mean of q(z|x) over the images, is estimated on the
whole batch, on every process alike, so a run is the same on any number of them.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from distvae.batch import Batch
from distvae.distributions import full_precision
from distvae.models import VAE
from distvae.objectives.base import DrawsOfBoth, Loss, one_draw
from distvae.parts import ONE_LEVEL, WHOLE_BATCH, Part
from distvae.players import Pressure, RunFacts
from distvae.values import NotNegative


@dataclass(frozen=True)
class MmdPart(Part):
    """The bound and a distance of q(z) from the prior (InfoVAE)."""

    name = "mmd"
    builds = "Mmd"
    traits = ("takes_terms", "adds_distortion")
    needs = (ONE_LEVEL, *WHOLE_BATCH)

    penalty: NotNegative | None = None
    """Alpha + lambda - 1, the weight of the distance; left out: 1000."""

    def left_out(self) -> dict[str, Any]:
        """The weight."""
        return {"penalty": 1000.0}


class Mmd(DrawsOfBoth):
    """InfoVAE with maximum mean discrepancy (Zhao et al. 2017, arXiv:1706.02262, section 3).

    -log p(x|z) + (1 - alpha) KL + (alpha + lambda - 1) MMD(q(z), p(z)): the KL weight is 1 - alpha,
    ``penalty`` the other factor. The prior, which may be learned, is drawn from for the labels of
    the batch.
    """

    def __init__(self, facts: RunFacts) -> None:
        super().__init__(facts)
        self.own = facts.config.of(MmdPart)

    def losses(self, model: VAE, batch: Batch, pressure: Pressure) -> Loss:
        """The bound plus the discrepancy between the batch's latents and draws of the prior."""
        of_posterior, of_prior = self.noises(batch)
        terms = model.terms(of_posterior)
        bound = self.bound(terms, pressure)
        gather, penalty = self.facts.gather, self.own.penalty
        assert penalty is not None
        with full_precision(batch.stored.device.type):
            context = model.conditioner(batch.conditions)
            z = one_draw(terms).z
            (drawn,) = model.latents.draw(of_prior, context)
            discrepancy = mmd(gather(z), gather(drawn))
        return bound.plus(penalty * discrepancy, {"mmd": discrepancy})


def mmd(first: Tensor, second: Tensor) -> Tensor:
    """Squared maximum mean discrepancy of two samples ``[B, Z]``: 0 if they are the same.

    Gretton et al. 2012, eq. 5, with the kernel exp(-|a - b|^2 / 2Z): between two draws of N(0, I)
    the exponent is 1 on average.
    """

    def mean_kernel(a: Tensor, b: Tensor) -> Tensor:
        squares = a.square().sum(1)[:, None] + b.square().sum(1) - 2.0 * a @ b.T
        return torch.exp(-squares / (2.0 * a.shape[1])).mean()

    return mean_kernel(first, first) + mean_kernel(second, second) - 2 * mean_kernel(first, second)
