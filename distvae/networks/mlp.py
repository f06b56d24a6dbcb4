"""Dense encoder and decoder.

Legend: B batch, C channels, H height, W width, Z axes of the latents, P parameter maps.
"""

import itertools
import math

from torch import Tensor, nn, no_grad

from distvae.conditions import Context, ContextShape
from distvae.config import ModelConfig
from distvae.networks.base import Decoder, Encoder
from distvae.networks.layers import (
    ACTIVATIONS,
    FixedModulation,
    Modulation,
    concatenated_or_modulated,
    joined,
    scaled,
)
from distvae.parts import Part


class DenseLayers(nn.Module):
    """A stack of dense layers, each followed by norm, label modulation and nonlinearity."""

    def __init__(self, sizes: list[int], config: ModelConfig, given: ContextShape) -> None:
        super().__init__()
        self.concatenated, modulated = concatenated_or_modulated(config, given)
        self.normed, self.modulated = config.norm == "layer", modulated.width > 0
        sizes = [sizes[0] + self.concatenated.width, *sizes[1:]]
        self.dense = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(sizes))
        self.norm = nn.ModuleList(
            nn.LayerNorm(size) if config.norm == "layer" else nn.Identity() for size in sizes[1:]
        )
        self.modulation = nn.ModuleList(Modulation(modulated, size) for size in sizes[1:])
        self.activation = ACTIVATIONS[config.activation]()

    def forward(self, features: Tensor, context: Context | None) -> Tensor:
        """``[B, sizes[0]]`` to ``[B, sizes[-1]]``."""
        features = joined(features, context, self.concatenated)
        for dense, norm, modulation in zip(self.dense, self.norm, self.modulation, strict=True):
            features = dense(features)
            if self.normed:
                features = norm(features)
            if self.modulated:
                features = modulation(features, context)
            features = self.activation(features)
        return features

    def simplified(self) -> nn.Module:
        """With the bias of a layer in the modulation that follows it, where none stands between."""
        if not self.normed:
            for dense, modulation in zip(self.dense, self.modulation, strict=True):
                if isinstance(modulation, FixedModulation) and isinstance(dense, nn.Linear):
                    modulation.take_bias(dense)
        return self


class MLPPart(Part):
    """Dense layers, for examples of any shape."""

    name = "mlp"
    builds = ("MLPEncoder", "MLPDecoder")
    usual = True


class MLPEncoder(Encoder):
    """Images to features through ``config.widths`` dense layers."""

    def __init__(self, config: ModelConfig, shape: tuple[int, ...], given: ContextShape) -> None:
        super().__init__()
        hidden = [scaled(size, config.width) for size in config.widths]
        self.shapes = ((hidden[-1],),)
        self.layers = DenseLayers([math.prod(shape), *hidden], config, given)

    def forward(self, inputs: Tensor, context: Context | None) -> tuple[Tensor, ...]:
        """``inputs [B, C, H, W]`` to one vector ``[B, *shape]``."""
        return (self.layers(inputs.flatten(1), context),)


class MLPDecoder(Decoder):
    """Latents to likelihood parameters through ``config.widths`` in reverse."""

    def __init__(
        self,
        config: ModelConfig,
        shape: tuple[int, ...],
        given: ContextShape,
        maps_per_channel: int,
        latents: tuple[int, ...],
    ) -> None:
        super().__init__()
        self.out_shape = (shape[0] * maps_per_channel, *shape[1:])
        hidden = [scaled(size, config.width) for size in reversed(config.widths)]
        self.layers = DenseLayers([math.prod(latents), *hidden], config, given)
        self.out = nn.Linear(hidden[-1], math.prod(self.out_shape))

    @no_grad()
    def initialize_output(self, parameters: Tensor) -> None:
        """Let every output begin near ``parameters [P, H, W]``."""
        self.out.bias.copy_(parameters.flatten())

    def forward(self, z: Tensor, context: Context | None) -> Tensor:
        """``z [B, *Z]`` to ``[B, P, H, W]``."""
        features = self.layers(z.flatten(1), context)
        parameters: Tensor = self.out(features).unflatten(1, self.out_shape)
        return parameters
