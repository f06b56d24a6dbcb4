"""From the features of an encoder to what the latents of a level are made of.

Legend: B batch, F features, C channels, H height, W width.
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


class FlatHead(nn.Module):
    """Features to one vector: a map through a dense layer, a vector as it is.

    Args:
        config: of the model.
        shape: of the features, without the batch.
        given: what contexts hold.
    """

    def __init__(self, config: ModelConfig, shape: tuple[int, ...], given: ContextShape) -> None:
        super().__init__()
        self.dense: nn.Linear | None = None
        self.out_features = math.prod(shape)
        if len(shape) == 1:
            return
        self.concatenated, modulated = concatenated_or_modulated(config, given)
        self.out_features = scaled(DENSE_FEATURES, config.width)
        self.dense = nn.Linear(math.prod(shape) + self.concatenated.width, self.out_features)
        self.modulation = Modulation(modulated, self.out_features)
        self.activation = ACTIVATIONS[config.activation]()

    def forward(self, features: Tensor, context: Context | None) -> Tensor:
        """``[B, *shape]`` to ``[B, out_features]``."""
        if self.dense is None:
            return features
        flat = joined(features.flatten(1), context, self.concatenated)
        out: Tensor = self.activation(self.modulation(self.dense(flat), context))
        return out


class MapHead(nn.Module):
    """A map to a map of its size, by a 1x1 convolution.

    Args:
        config: of the model.
        shape: of the map, without the batch.
        given: what contexts hold.
    """

    def __init__(self, config: ModelConfig, shape: tuple[int, ...], given: ContextShape) -> None:
        super().__init__()
        self.concatenated, modulated = concatenated_or_modulated(config, given)
        self.out_channels = scaled(DENSE_FEATURES, config.width)
        seen = shape[0] + self.concatenated.width
        self.conv = convolution_along(shape[1:])(seen, self.out_channels, 1)
        self.modulation = Modulation(modulated, self.out_channels)
        self.activation = ACTIVATIONS[config.activation]()

    def forward(self, features: Tensor, context: Context | None) -> Tensor:
        """``[B, *shape]`` to ``[B, out_channels, H, W]``."""
        maps = self.conv(joined(features, context, self.concatenated))
        out: Tensor = self.activation(self.modulation(maps, context))
        return out
