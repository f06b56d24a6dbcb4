"""What every prior does.

Legend: B batch, Z latent dimensions.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from torch import Tensor

from distvae.conditions import Context, ContextShape
from distvae.config import ModelConfig
from distvae.data.batches import ResidentImages
from distvae.distributions import Wide
from distvae.domains import Domain
from distvae.posteriors import Posterior

Encode = Callable[[Tensor, Context | None], Posterior]
"""Inputs and their context to the posterior."""


class Prior(Wide, ABC):
    """The contract of this part: a density of latents, and how noise is turned into them."""

    noise_dim: int
    """Length of the noise vector that ``transform`` takes."""
    learning_rate_factor = 1.0
    """How many times the model's learning rate its own parameters are trained at."""
    invertible: bool
    """Whether ``transform`` is one to one, so that ``whiten`` undoes it."""

    @classmethod
    def build(
        cls, config: ModelConfig, given: ContextShape, domain: Domain, encode: Encode
    ) -> "Prior":
        """The prior of a model.

        Args:
            config: of the model.
            given: what the contexts of the model hold.
            domain: of the examples.
            encode: the model's encoder, a bound method, so that a copy of the model has its own.
        """
        build: Any = cls  # most take what their latents are like, and nothing of the examples
        built: Prior = build(config, given)
        return built

    @abstractmethod
    def log_prob(self, z: Tensor, context: Context | None) -> Tensor:
        """Log-density of ``z [B, Z]``, nats ``[B]``."""

    @abstractmethod
    def transform(self, noise: Tensor, context: Context | None) -> Tensor:
        """Noise ``[B, noise_dim]`` to latents ``[B, Z]``."""

    def whiten(self, z: Tensor, context: Context | None) -> Tensor:
        """The noise that ``transform`` would turn into ``z``: ``[B, Z]`` to ``[B, noise_dim]``."""
        raise NotImplementedError(f"{type(self).__name__} is not invertible")

    def noise_for(self, z: Tensor, context: Context | None) -> Tensor:
        """A noise that ``transform`` turns into ``z``: ``[B, Z]`` to ``[B, noise_dim]``.

        Of an invertible prior there is one; another prior chooses that which is likeliest.
        """
        return self.whiten(z, context)

    def prepare(self, images: ResidentImages) -> None:
        """Begin with what the training images are like; most priors do not need to."""

    def kl(self, posterior: Posterior, context: Context | None) -> Tensor | None:
        """KL of the posterior to the prior, nats ``[B, Z]``; None where it has no closed form."""
        return None
