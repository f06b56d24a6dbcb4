"""A network that tells the label of an example.

Legend: B batch, S the axes of an example, L labels.
"""

import math

from torch import Tensor, nn

from distvae.conditions import NOTHING
from distvae.config import ModelConfig
from distvae.distributions import wide
from distvae.networks import NETWORKS


class Classifier(nn.Module):
    """q(y|x): an encoder of the model's family, which is given nothing, and a linear layer.

    Args:
        config: of the model.
        shape: S.
        labels: L.
    """

    def __init__(self, config: ModelConfig, shape: tuple[int, ...], labels: int) -> None:
        super().__init__()
        encoder, _ = NETWORKS[config.network or "mlp"]
        self.encoder = encoder(config, shape, NOTHING)
        self.out = nn.Linear(math.prod(self.encoder.shapes[-1]), labels)

    def forward(self, inputs: Tensor) -> Tensor:
        """Log q(y|x) of ``inputs [B, *S]``, nats ``[B, L]``."""
        features: Tensor = self.encoder(inputs, None)[-1]
        logits: Tensor = wide(self.out(features.flatten(1)))
        return logits.log_softmax(1)
