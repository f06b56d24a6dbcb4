"""The standard normal.

Legend: B batch, Z latent dimensions.
"""

from torch import Tensor

from distvae.conditions import Context, ContextShape
from distvae.config import ModelConfig
from distvae.distributions import DiagonalGaussian, log_normal
from distvae.parts import Part
from distvae.posteriors import Posterior
from distvae.priors.base import Prior


class NormalPart(Part):
    """N(0, I), whatever the context."""

    name = "normal"
    builds = "NormalPrior"
    traits = ("by_dimension", "without_encoder")
    usual = True


class NormalPrior(Prior):
    """N(0, I), whatever the context."""

    invertible = True

    def __init__(self, config: ModelConfig, given: ContextShape) -> None:
        super().__init__()
        self.noise_dim = config.latent_dim

    def kl(self, posterior: Posterior, context: Context | None) -> Tensor | None:
        """Nats ``[B, Z]`` of a Gaussian."""
        if not isinstance(posterior, DiagonalGaussian):
            return None
        return posterior.kl_to_standard_normal()

    def log_prob(self, z: Tensor, context: Context | None) -> Tensor:
        """Nats ``[B]``."""
        return log_normal(z, 0.0, 0.0).sum(1)

    def transform(self, noise: Tensor, context: Context | None) -> Tensor:
        """The noise itself."""
        return noise

    def whiten(self, z: Tensor, context: Context | None) -> Tensor:
        """The latents themselves."""
        return z
