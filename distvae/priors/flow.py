"""A coupling flow.

Legend: B batch, Z latent dimensions.
"""

from torch import Tensor

from distvae.config import ModelConfig
from distvae.distributions import log_normal
from distvae.flows import CouplingFlow, build_flow, pull, push
from distvae.networks.layers import one_hot
from distvae.priors.base import Prior


class FlowPrior(Prior):
    """N(0, I) pushed through coupling layers that see the label (see :mod:`distvae.flows`)."""

    invertible = True

    def __init__(self, config: ModelConfig, num_labels: int) -> None:
        super().__init__()
        self.noise_dim = config.latent_dim
        self.num_labels = num_labels
        self.flow: CouplingFlow = build_flow(config, num_labels)

    def log_prob(self, z: Tensor, labels: Tensor | None) -> Tensor:
        """Nats ``[B]``: that of the noise, less the logarithm of the change of volume."""
        noise, log_volume = pull(self.flow.weights(), z, self._context(z, labels))
        return log_normal(noise, 0.0, 0.0).sum(1) - log_volume

    def transform(self, noise: Tensor, labels: Tensor | None) -> Tensor:
        """Through the layers ``[B, Z]``."""
        return push(self.flow.weights(), noise, self._context(noise, labels))

    def whiten(self, z: Tensor, labels: Tensor | None) -> Tensor:
        """Back through the layers ``[B, Z]``."""
        return pull(self.flow.weights(), z, self._context(z, labels))[0]

    def _context(self, like: Tensor, labels: Tensor | None) -> Tensor | None:
        return one_hot(labels, self.num_labels, like) if self.num_labels else None
