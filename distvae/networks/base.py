"""What encoders and decoders do.

Legend: B batch, S the axes of an example, of which R are those but the first, Z those of its
latents, P parameter maps.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable

from torch import Tensor, nn

from distvae.conditions import Context, ContextShape
from distvae.config import ModelConfig

LAYERS = (nn.Linear, nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d)


class Encoder(nn.Module, ABC):
    """From examples to features."""

    shapes: tuple[tuple[int, ...], ...]
    """Of the features, without the batch."""
    reach: int | None = None
    """Pixels on either side that a place of the smallest maps depends on; None: all there are."""

    @abstractmethod
    def forward(self, inputs: Tensor, context: Context | None) -> tuple[Tensor, ...]:
        """``inputs [B, *S]`` to features, the finest first.

        Each is a map ``[B, C, H, W]``, or one vector ``[B, F]``. A latent space makes of them what
        it needs.
        """


class Decoder(nn.Module, ABC):
    """From latents to the parameters of the likelihood."""

    reach: int | None = None
    """Pixels on either side of a pixel whose latents it depends on; None: all there are."""

    @abstractmethod
    def initialize_output(self, parameters: Tensor) -> None:
        """Let every output begin near ``parameters [P, *R]``."""

    @abstractmethod
    def forward(self, z: Tensor, context: Context | None) -> Tensor:
        """``z [B, *Z]`` to ``[B, P, *R]``."""

    @property
    def last(self) -> nn.Parameter:
        """The weight of the last layer: of dense and convolutional ones that built last."""
        *_, layer = (part for part in self.modules() if isinstance(part, LAYERS))
        weight = layer.weight
        assert isinstance(weight, nn.Parameter)
        return weight


BuildEncoder = Callable[[ModelConfig, tuple[int, ...], ContextShape], Encoder]
"""Of the config of a model, S, and what contexts hold."""
BuildDecoder = Callable[[ModelConfig, tuple[int, ...], ContextShape, int, tuple[int, ...]], Decoder]
"""Also of the number of parameter maps for each channel of an example, and of Z."""
