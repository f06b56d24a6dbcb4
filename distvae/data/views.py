"""Random views of pictures: where a crop lies, and whether it is flipped. No torch.

A view is a function of the seed, the epoch and the number of the example in it alone. One word of
chance for each side and one for the flip make it, of a stream of their own.

Legend: N views, H and W the sides of a picture, h and w those of a view.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from distvae.concerns import DataConfig
from distvae.draws.philox import Source, Stream

CROP, FLIP = "crop", "flip"
SIDE_BITS = 16
"""Of a place in a picture, whose sides are less than 2 to so many."""
LONGEST = 2**SIDE_BITS - 1
"""Side of a picture that views are taken of."""
MOST_PICTURES = 2**30
TOP, LEFT, FLIPPED = range(3)
"""Parts of the stream."""
_PICTURE, _TOP, _LEFT = 2 * SIDE_BITS + 1, SIDE_BITS + 1, 1
"""By how many bits each lies above the flip in a code."""


class Places(NamedTuple):
    """Where some views lie."""

    tops: NDArray[np.int64]
    """``[N]``, of the first row."""
    lefts: NDArray[np.int64]
    """``[N]``, of the first column."""
    flipped: NDArray[np.int64]
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
            rooms: by how much each picture is higher and wider than a view ``[N, 2]``.
            seed: of the run.
            epoch: its number.
            first: number of the first example.
        """
        source = Source(seed, Stream.VIEWS)

        def words(part: int) -> NDArray[np.uint64]:
            return source.words(len(rooms), epoch, part, first)

        tops, lefts = (
            below(words(part), rooms[:, part] + 1) if self.crop else np.zeros(len(rooms), np.int64)
            for part in (TOP, LEFT)
        )
        flips = words(FLIPPED) >> np.uint64(63) if self.flip else np.zeros(len(rooms))
        return Places(tops, lefts, flips.astype(np.int64))


def below(words: NDArray[np.uint64], counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Whole numbers below each count ``[N]``, counts below 2^32, by the upper halves of words."""
    products = (words >> np.uint64(32)) * counts.astype(np.uint64)
    return (products >> np.uint64(32)).astype(np.int64)


def encode(pictures: NDArray[np.int64], places: Places) -> NDArray[np.int64]:
    """Views as one whole number each ``[N]``, which goes where the number of a row goes."""
    tops, lefts, flipped = places
    return pictures << _PICTURE | tops << _TOP | lefts << _LEFT | flipped


def decode(codes: Any) -> Codes:
    """What :func:`encode` was given, of an array or a tensor."""
    tops, lefts = codes >> _TOP & LONGEST, codes >> _LEFT & LONGEST
    return Codes(codes >> _PICTURE, Places(tops, lefts, codes & 1))
