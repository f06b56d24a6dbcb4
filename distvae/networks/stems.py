"""From latents to the first maps of a decoder, the counterpart of the heads of latent spaces.

Legend: B batch, Z latent dimensions, C channels, H height, W width.
"""

import math

from torch import Tensor, nn

from distvae.conditions import Context, ContextShape
from distvae.config import ModelConfig
from distvae.networks.layers import (
    ACTIVATIONS,
    DENSE_FEATURES,
    Modulation,
    concatenated_or_modulated,
    convolution_along,
    joined,
    scaled,
)
from distvae.networks.pyramid import Level


class FlatStem(nn.Module):
    """A vector of latents through two dense layers."""

    def __init__(
        self, config: ModelConfig, size: int, level: Level, given: ContextShape, end: nn.Module
    ) -> None:
        super().__init__()
        self.concatenated, modulated = concatenated_or_modulated(config, given)
        self.shape = level.shape
        features = scaled(DENSE_FEATURES, config.width)
        self.dense = nn.Linear(size + self.concatenated.width, features)
        self.modulation = Modulation(modulated, features)
        self.activation = ACTIVATIONS[config.activation]()
        self.expand = nn.Linear(features, math.prod(level.shape))
        self.end = end

    def forward(self, z: Tensor, context: Context | None) -> Tensor:
        """``z [B, Z]`` to ``[B, C, H, W]``."""
        z = joined(z, context, self.concatenated)
        features = self.activation(self.modulation(self.dense(z), context))
        maps: Tensor = self.end(self.expand(features)).unflatten(1, self.shape)
        return maps


class MapStem(nn.Module):
    """Maps of latents through a 3x3 convolution."""

    def __init__(
        self, config: ModelConfig, channels: int, level: Level, given: ContextShape, end: nn.Module
    ) -> None:
        super().__init__()
        self.concatenated, modulated = concatenated_or_modulated(config, given)
        seen = channels + self.concatenated.width
        self.conv = convolution_along(level.sides)(seen, level.channels, 3, padding=1)
        self.modulation = Modulation(modulated, level.channels)
        self.end = end

    def forward(self, z: Tensor, context: Context | None) -> Tensor:
        """``z [B, Z, H, W]`` to ``[B, C, H, W]``."""
        maps = self.conv(joined(z, context, self.concatenated))
        out: Tensor = self.end(self.modulation(maps, context))
        return out


def build_stem(
    config: ModelConfig,
    latents: tuple[int, ...],
    level: Level,
    given: ContextShape,
    end: nn.Module,
) -> FlatStem | MapStem:
    """The stem for latents.

    Args:
        config: of the model.
        latents: their shape, without the batch.
        level: the first maps, of the size of the latents where these are maps.
        given: what contexts hold.
        end: the nonlinearity of the maps, or the identity.
    """
    if len(latents) == 1:
        return FlatStem(config, latents[0], level, given, end)
    return MapStem(config, latents[0], level, given, end)
