"""From the features of an encoder to the vector that a latent space is made of.

Legend: B batch, F features, C channels, H height, W width.
"""

import math

from torch import Tensor, nn

from distvae.conditions import Context, ContextShape
from distvae.config import ModelConfig
from distvae.latents.base import Features
from distvae.networks.layers import (
    ACTIVATIONS,
    DENSE_FEATURES,
    Modulation,
    concatenated_or_modulated,
    joined,
    scaled,
)


class FlatHead(nn.Module):
    """Features to one vector: a map through a dense layer, a vector as it is.

    Args:
        config: of the model.
        shape: of the coarsest features, without the batch.
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

    def forward(self, features: Features, context: Context | None) -> Tensor:
        """To ``[B, out_features]``."""
        coarsest = features[-1]
        if self.dense is None:
            return coarsest
        flat = joined(coarsest.flatten(1), context, self.concatenated)
        out: Tensor = self.activation(self.modulation(self.dense(flat), context))
        return out
