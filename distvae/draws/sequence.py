"""Random numbers that are asked for one after the other, for measurements. No torch."""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from distvae.draws.normals import quick_normals
from distvae.draws.philox import Source, Stream

Shape = tuple[int, ...]


class Numbers:
    """A generator whose numbers are functions of (seed, stream, step) and of what was asked before.

    Args:
        seed: as of :class:`Source`.
        stream: what they are for.
        step: another one draws other numbers.
    """

    def __init__(self, seed: int, stream: Stream, step: int = 0) -> None:
        self._source = Source(seed, stream)
        self._step = step
        self._taken = 0

    def integers(self, low: int, high: ArrayLike, shape: Shape = ()) -> NDArray[np.int64]:
        """Whole numbers from ``low`` to below ``high``, int64 of this shape.

        Args:
            low: the least.
            high: above ``low``; one for all, or an array that broadcasts to the shape.
            shape: of the result. A word is taken modulo the width, which makes some numbers
                likelier than others by less than the width / 2^64.
        """
        widths = (np.asarray(high, np.int64) - low).astype(np.uint64)
        words = self._words(math.prod(shape)).reshape(shape)
        return np.asarray((words % widths).astype(np.int64) + low, np.int64)

    def normals(self, shape: Shape) -> NDArray[np.float64]:
        """Independent N(0, 1), float64 of this shape with the precision of float32."""
        count = math.prod(shape)
        words = self._words(-(-count // 2))
        return quick_normals(words)[:count].astype(np.float64).reshape(shape)

    def _words(self, count: int) -> NDArray[np.uint64]:
        words = self._source.words(count, self._step, first=self._taken)
        self._taken += count
        return words
