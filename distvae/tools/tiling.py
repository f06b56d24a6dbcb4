"""A large map computed in tiles.

What a network makes of a part is what it makes of the whole, but near the cut edges of the part.

Legend: C channels, S the sides of a map or of what is made of it, two or three, in its places.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from distvae.errors import DistvaeError

Floats = NDArray[np.float32]
Compute = Callable[[tuple[slice, ...]], Floats]
"""A part of each side of the map -> what is made of these ``[C, *S]``."""
USUAL_TILES = {2: 512, 3: 128}
"""By how many sides a map has."""
BLENDED_SHARE = 4
"""Of a tile, the part by which tiles overlap that are blended, as a divisor."""


@dataclass(frozen=True)
class Tiling:
    """How a map is cut, in pixels of the image."""

    tile: int
    """Longest side of a tile."""
    overlap: int
    """By how much neighbours overlap at least."""
    needed: int | None
    """The overlap from which on nothing differs from the whole; None: there is none."""
    unit: str = "pixels"
    """What a volume has in their place."""

    @property
    def exact(self) -> bool:
        """Whether tiles are cut where each is what it is in the whole, not blended."""
        return self.needed is not None and self.overlap >= self.needed

    @property
    def told(self) -> str:
        """What somebody should know who looks at the result; empty where it is exact."""
        if self.exact:
            return ""
        blended = f"tiles of {self.tile} {self.unit} that overlap by {self.overlap} are blended: "
        if self.needed is None:
            return f"{blended}the network's norms or attention see a tile and not the whole"
        return f"{blended}they are exactly what the whole gives from --overlap {self.needed} on"


def tiling_of(
    tile: int | None,
    overlap: int | None,
    reach: int | None,
    factor: int,
    usual: int = USUAL_TILES[2],
    unit: str = "pixels",
) -> Tiling:
    """How a map is cut.

    Args:
        tile: longest side in pixels; None: the usual one, or what the overlap asks for.
        overlap: in pixels; None: as much as makes the result that of the whole, or a quarter of a
            tile where no overlap does.
        reach: pixels on either side that a network sees; None: all there are.
        factor: pixels of a place of the latents.
        usual: a tile's longest side.
        unit: what sides are counted in.

    Raises:
        DistvaeError: they are no multiples of the factor, or a tile is hardly larger than what it
            shares with its neighbours.
    """
    needed = None if reach is None else 2 * factor * math.ceil(reach / factor)
    for name, value in (("tile", tile), ("overlap", overlap)):
        if value is not None and value % factor:
            raise DistvaeError(
                f"--{name} is {value}",
                f"expected a multiple of {factor}, the {unit} of a place of the latents",
                f"Take {max(factor, value // factor * factor)}.",
            )
    if tile is None:
        asked = overlap if overlap is not None else needed or 0
        tile = max(usual, factor * math.ceil(2 * asked / factor))
    if overlap is None and needed is not None and tile <= needed:
        blended = tile // BLENDED_SHARE // factor * factor
        other = f", or --overlap {blended}, by which tiles are blended" if blended else ""
        raise DistvaeError(
            f"--tile {tile} is too small for what the network sees",
            f"a tile of which something is the same as in the whole has more than {needed} {unit}, "
            f"as it sees {reach} on either side",
            f"Take --tile {2 * needed}{other}.",
        )
    if overlap is None:
        overlap = needed if needed is not None else tile // BLENDED_SHARE // factor * factor
    if overlap >= tile:
        raise DistvaeError(
            f"--overlap {overlap} is not below --tile {tile}",
            "tiles would never come to the end",
            f"Take --tile {2 * overlap}.",
        )
    return Tiling(tile, overlap, needed, unit)


def spans(length: int, tile: int, overlap: int) -> list[tuple[int, int]]:
    """First and end of the tiles of a side; they are as long, and overlap evenly.

    >>> spans(100, 40, 10)
    [(0, 40), (30, 70), (60, 100)]
    """
    if length <= tile:
        return [(0, length)]
    steps = math.ceil((length - tile) / (tile - overlap))
    starts = [round(step * (length - tile) / steps) for step in range(steps + 1)]
    return [(start, start + tile) for start in starts]


def shares(parts: list[tuple[int, int]], length: int, exact: bool) -> list[Floats]:
    """What each tile of a side contributes to each of its places; they sum up to one.

    Args:
        parts: first and end of the tiles.
        length: of the side.
        exact: whether neighbours meet in the middle of what they share, or pass into each other.
    """
    cuts = [0, *((first + end) // 2 for (_, end), (first, _) in itertools.pairwise(parts)), length]
    found = []
    for number, (first, end) in enumerate(parts):
        places = np.arange(first, end)
        if exact:
            inside = (places >= cuts[number]) & (places < cuts[number + 1])
            found.append(inside.astype(np.float32))
            continue
        share = np.ones(end - first, np.float32)
        if number:
            share = np.minimum(share, (places - first + 1) / (parts[number - 1][1] - first + 1))
        if number + 1 < len(parts):
            share = np.minimum(share, (end - places) / (end - parts[number + 1][0] + 1))
        found.append(share.astype(np.float32))
    whole = np.zeros(length, np.float32)
    for (first, end), share in zip(parts, found, strict=True):
        whole[first:end] += share
    return [share / whole[first:end] for (first, end), share in zip(parts, found, strict=True)]


def in_tiles(
    compute: Compute,
    sides: Sequence[int],
    tile: int,
    overlap: int,
    scale: int,
    exact: bool,
    advance: Callable[[int], None] = lambda count: None,
) -> Iterator[tuple[int, Floats]]:
    """What is made of a map, along its first side in strips that go over all of the others.

    No more than two rows of tiles are held at a time.

    Args:
        compute: of a tile.
        sides: S of the map.
        tile: longest side of a tile, in places of the map.
        overlap: of neighbours at least, the same.
        scale: places of what is made for each place of the map.
        exact: whether tiles are cut or blended.
        advance: told of each tile.

    Yields:
        The first row of a strip, and the strip ``[C, rows, *S[1:]]``.
    """
    axes = [spans(side, tile, overlap) for side in sides]
    made = [[(scale * first, scale * end) for first, end in parts] for parts in axes]
    whole = [scale * side for side in sides]
    each = [shares(parts, side, exact) for parts, side in zip(made, whole, strict=True)]
    strip, top = np.zeros((0,) * (len(sides) + 1), np.float32), 0
    for place, (first, end) in enumerate(made[0]):
        for numbers in itertools.product([place], *(range(len(parts)) for parts in axes[1:])):
            found = compute(tuple(slice(*axes[axis][at]) for axis, at in enumerate(numbers)))
            if end - top > strip.shape[1]:
                shape = len(found), end - top - strip.shape[1], *whole[1:]
                more = np.zeros(shape, np.float32)
                strip = np.concatenate([strip, more], 1) if strip.size else more
            for axis, at in enumerate(numbers):
                found = found * each[axis][at].reshape(-1, *[1] * (len(sides) - 1 - axis))
            rest = (slice(*made[axis][at]) for axis, at in enumerate(numbers) if axis)
            strip[(slice(None), slice(first - top, end - top), *rest)] += found
            advance(1)
        done = made[0][place + 1][0] if place + 1 < len(made[0]) else whole[0]
        yield top, strip[:, : done - top]
        strip, top = strip[:, done - top :], done


def count_of(sides: Sequence[int], tile: int, overlap: int) -> int:
    """How many tiles there are."""
    return math.prod(len(spans(side, tile, overlap)) for side in sides)
