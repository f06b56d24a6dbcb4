"""The resolutions that convolutional networks pass through, for images of any size.

The encoder folds 2x2 pixels into channels, then halves until the longer side is at most
``COARSEST``; odd sides round up. The decoder walks the same list backwards and cuts off what the
rounding added, so encoder and decoder agree for every height and width.
"""

import math
from typing import NamedTuple

from torch import Tensor
from torch.nn import functional as F

from distvae.config import ModelConfig
from distvae.errors import DistvaeError
from distvae.networks.layers import scaled

COARSEST = 7
BASE_CHANNELS = 32
MOST_CHANNELS = 256


class Level(NamedTuple):
    """One resolution of the pyramid."""

    channels: int
    height: int
    width: int


def pyramid(config: ModelConfig, height: int, width: int) -> list[Level]:
    """Levels from the folded image down to the coarsest.

    >>> pyramid(ModelConfig(), 28, 28)
    [Level(channels=32, height=14, width=14), Level(channels=64, height=7, width=7)]
    """
    levels: list[Level] = []
    channels = BASE_CHANNELS
    while True:
        height, width = -(-height // 2), -(-width // 2)
        levels.append(Level(scaled(min(channels, MOST_CHANNELS), config.width), height, width))
        if max(height, width) <= COARSEST:
            return levels
        channels *= 2


def largest_side(levels: int) -> int:
    """Of images, in pixels, that pass so many levels at most."""
    return int(COARSEST * 2**levels)


def smallest_side(places: int) -> int:
    """Of images, in pixels, whose coarsest level has so many places; for 49 at most."""
    return 2 * math.ceil(math.sqrt(places)) - 1


def upwards(levels: list[Level], latents: tuple[int, ...]) -> list[Level]:
    """The levels that a decoder passes, the coarsest first, from that of its latents on.

    Args:
        levels: of the pyramid.
        latents: shape of what the decoder takes: a vector, from which the coarsest level is made,
            or maps of the size of one of the levels.

    Raises:
        DistvaeError: no level has that size.
    """
    if len(latents) == 1:
        return levels[::-1]
    sides = latents[1:]
    sizes = [(level.height, level.width) for level in levels]
    if sides not in sizes:
        told = ", ".join(f"{height} x {width}" for height, width in sizes)
        raise DistvaeError(
            f"latents of {sides[0]} x {sides[1]} do not fit this network",
            f"its maps are {told}",
        )
    return levels[sizes.index(sides) :: -1]


def fold(images: Tensor) -> Tensor:
    """2x2 pixels into channels, odd sides padded: ``[B, C, H, W]`` to ``[B, 4C, H/2, W/2]``."""
    height, width = images.shape[-2:]
    if height % 2 or width % 2:
        images = F.pad(images, (0, width % 2, 0, height % 2))
    return F.pixel_unshuffle(images, 2)


def unfold(features: Tensor, height: int, width: int) -> Tensor:
    """The reverse of :func:`fold`, cut to ``height`` and ``width``."""
    return F.pixel_shuffle(features, 2)[:, :, :height, :width]


def sides_of(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Channels, height and width.

    Raises:
        DistvaeError: the examples have no sides to go along.
    """
    if len(shape) != 3:
        raise DistvaeError(
            f"convolutions do not fit examples of the shape {list(shape)}",
            "expected channels, height and width",
            "Take --network mlp.",
        )
    channels, height, width = shape
    return channels, height, width
