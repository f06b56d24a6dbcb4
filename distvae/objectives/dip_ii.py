"""DIP-VAE-II: the covariance of q(z) pulled to the identity.

Legend: B batch (the global one where latents are gathered), C channels, H height, W width, Z
latent dimensions.

The term of the aggregate posterior q(z), the mean of q(z|x) over the images, is estimated on the
whole batch, on every process alike, so a run is the same on any number of them.
"""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from distvae.objectives.dip_i import DipI
from distvae.parts import INDEPENDENT, MOMENTS, ONE_LEVEL, WHOLE_BATCH, Part
from distvae.values import NotNegative


@dataclass(frozen=True)
class DipIIPart(Part):
    """The covariance of q(z) pulled to the identity (DIP-VAE-II)."""

    name = "dip_ii"
    builds = "DipII"
    traits = ("takes_terms", "adds_distortion")
    needs = (INDEPENDENT, MOMENTS, ONE_LEVEL, *WHOLE_BATCH)

    penalty: NotNegative | None = None
    """Lambda_od, the weight of what is off the diagonal; left out: 10."""
    dip_diagonal: NotNegative | None = None
    """Lambda_d, the weight of the diagonal; left out: --penalty."""

    def left_out(self) -> dict[str, Any]:
        """Both weights."""
        penalty = 10.0 if self.penalty is None else self.penalty
        return {"penalty": penalty, "dip_diagonal": penalty}


class DipII(DipI):
    """DIP-VAE-II (their eq. 7): the same for the covariance of q(z), spread of z included."""

    def covariance(self, mean: Tensor, log_variance: Tensor) -> Tensor:
        """Covariance of the means plus mean variance ``[Z, Z]`` (their eq. 4)."""
        return super().covariance(mean, log_variance) + log_variance.exp().mean(0).diag()
