"""q(z|x): a diagonal Gaussian, or a coupling flow on top of it.

Legend: B batch, K samples of one posterior, Z latent dimensions, F features of the encoder.
"""

from typing import NamedTuple, Protocol

from torch import Tensor

from distvae.distributions import DiagonalGaussian, full_precision
from distvae.flows import Weights, pull, push


class Posterior(Protocol):
    """The contract of this part."""

    @property
    def base(self) -> DiagonalGaussian:
        """The Gaussian that the encoder gives; the posterior itself where no flow is on top."""

    @property
    def mean(self) -> Tensor:
        """The code of the image ``[B, Z]``: the mean, or what a flow makes of its base's mean."""

    @property
    def log_variance(self) -> Tensor:
        """Of ``base`` ``[B, Z]``."""

    def sample(self, noise: Tensor) -> Tensor:
        """Standard normal noise ``[B, Z]`` to latents of its shape."""

    def log_prob(self, z: Tensor) -> Tensor:
        """Log-density of ``z [B, Z]``, nats ``[B]``."""

    def over_draws(self) -> "Posterior":
        """The same for K draws of each row: takes and gives ``[B, K, Z]`` and ``[B, K]``."""

    def detached(self) -> "Posterior":
        """The same as a constant: its densities pass gradients to ``z`` alone."""


class FlowPosterior(NamedTuple):
    """A Gaussian pushed through coupling layers that see the encoder's features.

    Rezende and Mohamed 2015 (arXiv:1505.05770), eq. 5 to 7, with the layers of Dinh et al. 2017
    (arXiv:1605.08803), so that any ``z`` has its density and not only those drawn from it.
    """

    base: DiagonalGaussian
    features: Tensor
    """``[B, F]``."""
    weights: Weights
    """Of the coupling layers."""

    @property
    def mean(self) -> Tensor:
        """Where the flow carries the mean of the base ``[B, Z]``; not the mean of z."""
        return self._push(self.base.mean)

    @property
    def log_variance(self) -> Tensor:
        """Of the base ``[B, Z]``, before the flow."""
        return self.base.log_variance

    def sample(self, noise: Tensor) -> Tensor:
        """A draw of the base, pushed through the flow."""
        return self._push(self.base.sample(noise))

    def log_prob(self, z: Tensor) -> Tensor:
        """Log-density of where ``z`` came from, less the logarithm of the change of volume."""
        with full_precision(z.device.type):
            origin, log_volume = pull(self.weights, z, self.features)
        return self.base.log_prob(origin) - log_volume

    def over_draws(self) -> "FlowPosterior":
        """The same for K draws of each row: takes and gives ``[B, K, Z]`` and ``[B, K]``."""
        return FlowPosterior(self.base.over_draws(), self.features.unsqueeze(1), self.weights)

    def detached(self) -> "FlowPosterior":
        """The same with features and layers as constants."""
        weights = tuple(
            tuple(None if part is None else part.detach() for part in layer)
            for layer in self.weights
        )
        return FlowPosterior(self.base.detached(), self.features.detach(), weights)

    def _push(self, origin: Tensor) -> Tensor:
        with full_precision(origin.device.type):
            return push(self.weights, origin, self.features)
