"""Random views of pictures and volumes: where a crop lies, and whether it is flipped. No torch.

A view is a function of the seed, the epoch and the number of the example in it alone. One word of
chance for each side and one for the flip make it, of a stream of their own.

Legend: N views, S the sides of what they are taken of: height and width, or depth before these.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from distvae.concerns import DataConfig
from distvae.draws.philox import Source, Stream

CROP, FLIP = "crop", "flip"
SIDE_BITS = {2: 16, 3: 12}
"""Of a place along a side, which is shorter than 2 to so many, by the number of sides."""


class Places(NamedTuple):
    """Where some views lie."""

    starts: tuple[Any, ...]
    """``[N]`` of each side: of the first row and the first column, for volumes after the slice."""
    flipped: Any
    """``[N]``, 1 where left and right are exchanged."""


class Codes(NamedTuple):
    """What codes say, each ``[N]``."""

    pictures: Any
    """Arrays, or tensors as the codes are."""
    places: Places


class Augmentation(NamedTuple):
    """What is changed of a picture each time it is seen."""

    crop: bool
    """Whether a view is a part of it, at its own scale."""
    flip: bool
    """Whether left and right are exchanged in half of the views."""

    @classmethod
    def of(cls, config: DataConfig) -> "Augmentation":
        """What ``--augment`` asks for."""
        return cls(CROP in config.augment, FLIP in config.augment)

    def __bool__(self) -> bool:
        """Whether anything is changed."""
        return self.crop or self.flip

    def places(self, rooms: NDArray[np.int64], seed: int, epoch: int, first: int = 0) -> Places:
        """The views that follow each other in an epoch.

        Args:
            rooms: by how much each picture is longer than a view along each side ``[N, S]``.
            seed: of the run.
            epoch: its number.
            first: number of the first example.
        """
        source, sides = Source(seed, Stream.VIEWS), rooms.shape[1]

        def words(part: int) -> NDArray[np.uint64]:
            return source.words(len(rooms), epoch, part, first)

        starts = tuple(
            below(words(side), rooms[:, side] + 1) if self.crop else np.zeros(len(rooms), np.int64)
            for side in range(sides)
        )
        flips = words(sides) >> np.uint64(63) if self.flip else np.zeros(len(rooms))
        return Places(starts, flips.astype(np.int64))


def below(words: NDArray[np.uint64], counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Whole numbers below each count ``[N]``, counts below 2^32, by the upper halves of words."""
    products = (words >> np.uint64(32)) * counts.astype(np.uint64)
    return (products >> np.uint64(32)).astype(np.int64)


def encode(pictures: NDArray[np.int64], places: Places) -> NDArray[np.int64]:
    """Views as one whole number each ``[N]``, which goes where the number of a row goes."""
    bits, codes = SIDE_BITS[len(places.starts)], pictures
    for starts in places.starts:
        codes = codes << bits | starts
    result: NDArray[np.int64] = codes << 1 | places.flipped
    return result


def decode(codes: Any, sides: int) -> Codes:
    """What :func:`encode` was given, of an array or a tensor."""
    bits, above = SIDE_BITS[sides], codes >> 1
    starts = tuple(above >> bits * side & longest(sides) for side in reversed(range(sides)))
    return Codes(above >> bits * sides, Places(starts, codes & 1))


def longest(sides: int) -> int:
    """The side of what views are taken of can have so many pixels."""
    return int(2 ** SIDE_BITS[sides] - 1)
