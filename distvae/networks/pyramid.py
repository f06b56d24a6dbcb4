"""The resolutions that convolutional networks pass through, for images of any size.

The encoder folds 2x2 pixels into channels, then halves until the longer side is at most
``COARSEST``; odd sides round up. The decoder walks the same list backwards and cuts off what the
rounding added, so encoder and decoder agree for every height and width.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from torch import Tensor
from torch.nn import functional as F

from distvae.config import ModelConfig
from distvae.errors import DistvaeError
from distvae.networks.layers import Convolution, convolution_along, scaled

COARSEST = 7
BASE_CHANNELS = 32
MOST_CHANNELS = 256


class Level(NamedTuple):
    """One resolution of the pyramid."""

    channels: int
    sides: tuple[int, ...]
    """Height and width; of volumes depth, height and width."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the maps, without the batch."""
        return (self.channels, *self.sides)


def pyramid(config: ModelConfig, *sides: int) -> list[Level]:
    """Levels from the folded example down to the coarsest.

    >>> pyramid(ModelConfig(), 28, 28)
    [Level(channels=32, sides=(14, 14)), Level(channels=64, sides=(7, 7))]
    """
    levels: list[Level] = []
    channels = BASE_CHANNELS
    while True:
        sides = tuple(-(-side // 2) for side in sides)
        levels.append(Level(scaled(min(channels, MOST_CHANNELS), config.width), sides))
        if max(sides) <= COARSEST:
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
    sizes = [level.sides for level in levels]
    if sides not in sizes:
        told = ", ".join(" x ".join(map(str, size)) for size in sizes)
        raise DistvaeError(
            f"latents of {' x '.join(map(str, sides))} do not fit this network",
            f"its maps are {told}",
        )
    return levels[sizes.index(sides) :: -1]


def downward(channels: int, levels: Sequence[Level]) -> Iterator[Convolution]:
    """3x3 convolutions of a folded example, then of stride 2 to each further level.

    Args:
        channels: of an example.
        levels: the finest first.
    """
    first, conv = levels[0], convolution_along(levels[0].sides)
    yield conv(2 ** len(first.sides) * channels, first.channels, 3, padding=1)
    for above, below in itertools.pairwise(levels):
        yield conv(above.channels, below.channels, 3, stride=2, padding=1)


def upward(levels: Sequence[Level]) -> Iterator[Convolution]:
    """3x3 convolutions of each level, the coarsest first, to the folded maps of the next."""
    for below, above in itertools.pairwise(levels):
        yield unfolding(below, above.channels)


def unfolding(level: Level, channels: int, bias: bool = True) -> Convolution:
    """A 3x3 convolution of a level to so many channels, folded, of sides twice as long."""
    folded = 2 ** len(level.sides) * channels
    return convolution_along(level.sides)(level.channels, folded, 3, padding=1, bias=bias)


def fold(examples: Tensor) -> Tensor:
    """:func:`fold_even` of examples whose odd sides are padded."""
    sides = examples.shape[2:]
    if any(side % 2 for side in sides):
        examples = F.pad(examples, [n for side in reversed(sides) for n in (0, side % 2)])
    return fold_even(examples)


def fold_even(examples: Tensor) -> Tensor:
    """Blocks of 2 a side into channels.

    ``[B, C, H, W]`` to ``[B, 4C, H/2, W/2]``, and ``[B, C, D, H, W]`` to
    ``[B, 8C, D/2, H/2, W/2]``.
    """
    if examples.dim() == 4:
        return F.pixel_unshuffle(examples, 2)
    batch, channels, *even = examples.shape
    blocks = examples.reshape(batch, channels, *(n for side in even for n in (side // 2, 2)))
    inner = [3 + 2 * axis for axis in range(len(even))]
    order = [0, 1, *inner, *(place - 1 for place in inner)]
    return blocks.permute(order).reshape(batch, -1, *(side // 2 for side in even))


def unfold(features: Tensor, *sides: int) -> Tensor:
    """The reverse of :func:`fold`, cut to ``sides``."""
    whole = unfold_even(features)
    if len(sides) == 2:
        return whole[:, :, : sides[0], : sides[1]]
    for axis, side in enumerate(sides, 2):
        whole = whole.narrow(axis, 0, side)
    return whole


def unfold_even(features: Tensor) -> Tensor:
    """The reverse of :func:`fold_even`."""
    if features.dim() == 4:
        return F.pixel_shuffle(features, 2)
    batch, channels, *coarse = features.shape
    axes = len(coarse)
    blocks = features.reshape(batch, channels // 2**axes, *[2] * axes, *coarse)
    order = [0, 1, *(2 + axis + part * axes for axis in range(axes) for part in (1, 0))]
    return blocks.permute(order).reshape(batch, -1, *(2 * side for side in coarse))


def sides_of(shape: tuple[int, ...], axes: tuple[int, ...] = (2, 3)) -> tuple[int, ...]:
    """Channels, then the sides: height and width, or depth, height and width.

    Args:
        shape: of an example.
        axes: how many sides fit.

    Raises:
        DistvaeError: the examples have no sides to go along, or more than fit.
    """
    if len(shape) - 1 not in axes:
        raise DistvaeError(
            f"these convolutions do not fit examples of the shape {list(shape)}",
            f"expected channels and {' or '.join(map(str, axes))} sides",
            "Take --network mlp.",
        )
    return shape
