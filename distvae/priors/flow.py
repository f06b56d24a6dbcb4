"""A coupling flow.

Legend: B batch, Z latent dimensions.
"""

from dataclasses import dataclass
from typing import Annotated

from torch import Tensor

from distvae.conditions import Context, ContextShape, written_out
from distvae.config import ModelConfig
from distvae.distributions import log_normal
from distvae.flows import CouplingFlow, pull, push
from distvae.parts import Need, Part
from distvae.priors.base import Prior
from distvae.values import Within


@dataclass(frozen=True)
class FlowPart(Part):
    """N(0, I) through coupling layers."""

    name = "flow"
    builds = "FlowPrior"
    traits = ("without_encoder",)
    needs = (Need("latent_dim", Within(2), "a flow changes one half of the latents by the other"),)

    flow_layers: Annotated[int, Within(2, 2**10)] = 6
    """Coupling layers."""
    flow_width: Annotated[int, Within(1, 2**20)] = 128
    """Hidden units of a coupling layer."""


class FlowPrior(Prior):
    """N(0, I) pushed through coupling layers that see the context (see :mod:`distvae.flows`)."""

    invertible = True

    def __init__(self, config: ModelConfig, given: ContextShape) -> None:
        super().__init__()
        self.noise_dim = config.latent_dim
        self.given = given
        own = config.of(FlowPart)
        self.flow = CouplingFlow(config.latent_dim, own.flow_layers, own.flow_width, given.width)

    def log_prob(self, z: Tensor, context: Context | None) -> Tensor:
        """Nats ``[B]``: that of the noise, less the logarithm of the change of volume."""
        noise, log_volume = pull(self.flow.weights(), z, self._columns(z, context))
        return log_normal(noise, 0.0, 0.0).sum(1) - log_volume

    def transform(self, noise: Tensor, context: Context | None) -> Tensor:
        """Through the layers ``[B, Z]``."""
        return push(self.flow.weights(), noise, self._columns(noise, context))

    def whiten(self, z: Tensor, context: Context | None) -> Tensor:
        """Back through the layers ``[B, Z]``."""
        return pull(self.flow.weights(), z, self._columns(z, context))[0]

    def _columns(self, like: Tensor, context: Context | None) -> Tensor | None:
        return written_out(context, self.given, like) if self.given.width else None
