"""A residual network of convolutions alone, for images and volumes of any size.

No norm and no parameter goes over space: what a place becomes depends on the places within the
receptive field, and on nothing else, so that a large image may be taken in tiles.

Legend: B batch, C channels, H height, W width, Z axes of the latents, P parameter maps, F the
factor by which maps are smaller than the image.
"""

from dataclasses import dataclass

from torch import Tensor, no_grad

from distvae.conditions import ContextShape
from distvae.config import ModelConfig
from distvae.networks.downscaling import AnySizePart, downscaled
from distvae.networks.pyramid import sides_of, upwards
from distvae.networks.residual import BLOCKS_PER_LEVEL, ResidualDecoder, ResidualEncoder
from distvae.parts import GRID, Need, Trait

CONVOLUTIONS = 2 * BLOCKS_PER_LEVEL
"""Of 3x3 in a stage, each of which sees one place further on either side."""


@dataclass(frozen=True)
class FcnPart(AnySizePart):
    """Residual convolutions, for images of any size: nothing in them goes over a whole image."""

    name = "fcn"
    builds = ("FcnEncoder", "FcnDecoder")
    needs = (
        GRID,
        Need("latent_space", Trait("places"), "its maps have no end to make a vector of"),
    )
    usual = True

    attention: bool = False
    """Let every place of the smallest maps see all others, after which tiles of an image are no
    longer exactly what they are in the whole."""


class FcnEncoder(ResidualEncoder):
    """Levels down to F times smaller than the image."""

    any_size = True

    def __init__(self, config: ModelConfig, shape: tuple[int, ...], given: ContextShape) -> None:
        own, (channels, *sides) = config.of(FcnPart), sides_of(shape)
        levels = downscaled(config, sides, own.downscale)
        super().__init__(config, channels, levels, given, own.attention, own.gradient_checkpointing)
        jumps = _jumps(len(levels))
        reach = jumps[0] + sum(jumps[:-1]) + CONVOLUTIONS * sum(jumps)
        self.reach = None if own.attention else reach


class FcnDecoder(ResidualDecoder):
    """The same levels upwards."""

    any_size = True

    def __init__(
        self,
        config: ModelConfig,
        shape: tuple[int, ...],
        given: ContextShape,
        maps_per_channel: int,
        latents: tuple[int, ...],
    ) -> None:
        own, (channels, *sides) = config.of(FcnPart), sides_of(shape)
        levels = upwards(downscaled(config, sides, own.downscale), latents)
        super().__init__(
            *(config, channels * maps_per_channel, sides, levels, latents, given),
            bias=True,
            attention=own.attention,
            checkpointing=own.gradient_checkpointing,
        )
        jumps = _jumps(len(levels))
        reach = jumps[0] + sum(jumps[1:]) + jumps[-1] + CONVOLUTIONS * sum(jumps)
        self.reach = None if own.attention else reach

    @no_grad()
    def initialize_output(self, parameters: Tensor) -> None:
        """Let every output begin near the mean over the places of ``parameters [P, H, W]``."""
        assert self.out.bias is not None
        means = parameters.flatten(1).mean(1)
        self.out.bias.copy_(means.repeat_interleave(len(self.out.bias) // len(means)))


def _jumps(levels: int) -> list[int]:
    """Pixels between two places of each resolution, the finest first."""
    return [2**number for number in range(1, levels + 1)]
