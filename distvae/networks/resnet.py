"""Residual convolutional encoder and decoder.

Legend: B batch, C channels, H height, W width, Z axes of the latents, P parameter maps.
"""

from torch import Tensor, nn, no_grad, zeros

from distvae.conditions import Context, ContextShape
from distvae.config import ModelConfig
from distvae.networks.pyramid import pyramid, sides_of, upwards
from distvae.networks.residual import ResidualDecoder, ResidualEncoder
from distvae.parts import GRID, Part


class ResNetPart(Part):
    """Residual convolutions."""

    name = "resnet"
    builds = ("ResNetEncoder", "ResNetDecoder")
    needs = (GRID,)
    traits = ("maps",)


class ResNetEncoder(ResidualEncoder):
    """Levels down to a few places."""

    def __init__(self, config: ModelConfig, shape: tuple[int, ...], given: ContextShape) -> None:
        channels, *sides = sides_of(shape)
        super().__init__(config, channels, pyramid(config, *sides), given)


class ResNetDecoder(ResidualDecoder):
    """The same levels upwards, and an offset of every output."""

    def __init__(
        self,
        config: ModelConfig,
        shape: tuple[int, ...],
        given: ContextShape,
        maps_per_channel: int,
        latents: tuple[int, ...],
    ) -> None:
        channels, *sides = sides_of(shape)
        levels, maps = upwards(pyramid(config, *sides), latents), channels * maps_per_channel
        super().__init__(config, maps, sides, levels, latents, given, bias=False)
        self.offset = nn.Parameter(zeros(maps, *sides))

    @no_grad()
    def initialize_output(self, parameters: Tensor) -> None:
        """Let every output begin near ``parameters [P, H, W]``."""
        self.offset.copy_(parameters)

    def forward(self, z: Tensor, context: Context | None) -> Tensor:
        """``z [B, *Z]`` to ``[B, P, H, W]``."""
        return super().forward(z, context) + self.offset
