"""Which value of an image is black and which is white, in whatever numbers it is told."""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from distvae.domains.levels import LEVELS, MOST_LEVELS

DIM = 64
"""Whole numbers that all stay below this one are levels in another unit, not dark images."""
SLACK = 0.01
"""How far floats may leave [0, 1] or [-1, 1], as resizing lets them do, and are clipped."""


class Levels(NamedTuple):
    """The values of black and of white; what lies outside is clipped."""

    black: float
    white: float

    def to_levels(self, values: NDArray[Any], levels: int = LEVELS) -> NDArray[Any]:
        """The same values as even levels from 0 on, uint8 or uint16.

        Whole numbers of as many values or more lose their lower bits; all else is rounded.

        Raises:
            ValueError: a value is not finite.
        """
        last, kind = levels - 1, np.uint8 if levels <= LEVELS else np.uint16
        if (self.black, self.white) == (0, np.iinfo(kind).max) and values.dtype == kind:
            return values
        spread = self.white - self.black
        if values.dtype.kind in "iub" and spread >= last:
            words = values.astype(np.int64) - int(self.black)
            cut: NDArray[Any] = (words * levels // (int(spread) + 1)).clip(0, last).astype(kind)
            return cut
        scaled = (values.astype(np.float64) - self.black) * (last / spread)
        if not np.isfinite(scaled).all():
            raise ValueError("some values are not finite")
        rounded: NDArray[Any] = np.rint(scaled.clip(0.0, last)).astype(kind)
        return rounded

    def kept(self, whole: bool) -> int:
        """In how many levels values are kept, where nothing else is asked for.

        Args:
            whole: whether all of them are whole numbers.
        """
        spread = self.white - self.black
        return min(int(spread) + 1, MOST_LEVELS) if whole and spread >= LEVELS else LEVELS


def depth_white(highest: int) -> int:
    """The white of whole numbers from 0 to ``highest``: all bits that these take.

    >>> [depth_white(highest) for highest in (1, 9, 16, 200, 4000)]
    [1, 15, 16, 255, 4095]
    """
    if highest & (highest - 1) == 0:  # 0 to 16 are 17 levels, not 5 bits
        return max(1, highest)
    return (1 << highest.bit_length()) - 1


def whole_levels(lowest: int, highest: int) -> Levels:
    """Levels of whole numbers, by the lowest and the highest of them.

    Raises:
        ValueError: they are negative and more than 8 bits, so that black is unknown.
    """
    if lowest < 0:
        if lowest >= -128 and highest <= 127:
            return Levels(-128, 127)
        raise ValueError(f"whole numbers from {lowest} to {highest} have no black")
    if DIM <= highest <= 255:
        return Levels(0, 255)
    return Levels(0, depth_white(highest))


def real_levels(lowest: float, highest: float, whole: bool) -> Levels:
    """Levels of floating-point numbers, of which it is known whether all are whole.

    Raises:
        ValueError: they fit none of [0, 1], [-1, 1] and [0, 255].
    """
    if not (math.isfinite(lowest) and math.isfinite(highest)):
        raise ValueError("some values are not finite")
    if highest <= 1 + SLACK and lowest >= -1 - SLACK:
        return Levels(0.0 if lowest >= -SLACK else -1.0, 1.0)
    if whole and lowest >= 0:
        return whole_levels(int(lowest), int(highest))
    if lowest >= -SLACK and DIM <= highest <= 255 + 255 * SLACK:
        return Levels(0.0, 255.0)
    raise ValueError(f"values from {lowest:g} to {highest:g} fit none of [0, 1], [-1, 1], [0, 255]")
