"""DIP-VAE-I: the covariance of posterior means pulled to the identity.

Legend: B batch (the global one where latents are gathered), C channels, H height, W width, Z
latent dimensions.

The term of the aggregate posterior q(z), the mean of q(z|x) over the images, is estimated on the
whole batch, on every process alike, so a run is the same on any number of them.
"""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from distvae.batch import Batch
from distvae.distributions import full_precision
from distvae.models import VAE
from distvae.objectives.base import Loss, Objective, base_of
from distvae.parts import INDEPENDENT, MOMENTS, ONE_LEVEL, WHOLE_BATCH, Part
from distvae.players import Pressure, RunFacts
from distvae.values import NotNegative


@dataclass(frozen=True)
class DipIPart(Part):
    """The covariance of the posterior means pulled to the identity (DIP-VAE-I)."""

    name = "dip_i"
    builds = "DipI"
    traits = ("takes_terms", "adds_distortion")
    needs = (INDEPENDENT, MOMENTS, ONE_LEVEL, *WHOLE_BATCH)

    penalty: NotNegative | None = None
    """Lambda_od, the weight of what is off the diagonal; left out: 10."""
    dip_diagonal: NotNegative | None = None
    """Lambda_d, the weight of the diagonal; left out: 10 times --penalty."""

    def left_out(self) -> dict[str, Any]:
        """Both weights."""
        penalty = 10.0 if self.penalty is None else self.penalty
        return {"penalty": penalty, "dip_diagonal": 10.0 * penalty}


class DipI(Objective):
    """DIP-VAE-I of Kumar et al. 2018 (arXiv:1711.00848, eq. 6).

    The covariance of the posterior means is pulled to the identity: ``penalty`` times the squares
    off its diagonal plus ``dip_diagonal`` times the squared distances of the diagonal from 1.
    """

    def __init__(self, facts: RunFacts) -> None:
        super().__init__(facts)
        self.own = facts.config.of(DipIPart)

    def covariance(self, mean: Tensor, log_variance: Tensor) -> Tensor:
        """What is to be the identity ``[Z, Z]``, of posteriors ``[B, Z]``."""
        centred = mean - mean.mean(0)
        return centred.T @ centred / (len(mean) - 1)

    def losses(self, model: VAE, batch: Batch, pressure: Pressure) -> Loss:
        """The bound plus the two penalties."""
        terms = model.terms(batch)
        bound = self.bound(terms, pressure)
        own = self.own
        with full_precision(batch.stored.device.type):
            covariance = self.covariance(*map(self.facts.gather, base_of(terms)))
            diagonal = covariance.diagonal()
            off_diagonal = covariance.square().sum() - diagonal.square().sum()
            distance = (diagonal - 1.0).square().sum()
        assert own.penalty is not None
        assert own.dip_diagonal is not None
        pressed = own.penalty * off_diagonal + own.dip_diagonal * distance
        extras = {"off_diagonal": off_diagonal, "diagonal_distance": distance}
        return bound.plus(pressed, extras)
