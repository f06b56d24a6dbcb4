"""Which numbers an argument may be."""

import math
import numbers
from collections.abc import Sequence
from typing import Any

from distvae.errors import DistvaeError, shown


def whole_number(value: Any, name: str, least: int, bits: int = 63) -> int:
    """An argument that counts something.

    Raises:
        DistvaeError: it is no whole number, less than ``least``, or has more than ``bits``.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise DistvaeError(f"{name} is {shown(value)}", "expected a whole number")
    number = int(value)
    if not least <= number < 2**bits:
        raise DistvaeError(
            f"{name} is {shown(value)}", f"expected {least} or more, below 2**{bits}"
        )
    return number


def check_seed(seed: int, bits: int = 63) -> None:
    """Refuse a ``--seed`` that is no number of so many bits.

    Raises:
        DistvaeError: it is below 0 or too large.
    """
    if not 0 <= seed < 2**bits:
        raise DistvaeError(f"--seed is {shown(seed)}", f"expected 0 or more, less than 2**{bits}")


def checked_temperature(value: Any) -> float:
    """The factor of the noise of samples.

    Raises:
        DistvaeError: it is no finite number of 0 or more.
    """
    real = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not (real and 0 <= value < math.inf):
        raise DistvaeError(f"temperature is {shown(value)}", "expected a number, 0 or more")
    return float(value)


def refuse_odd_sides(sides: Sequence[int], factor: int) -> None:
    """Refuse sides of images or volumes that are not multiples of the factor.

    Raises:
        DistvaeError: it names sides that fit.
    """
    if any(side % factor for side in sides):
        least, flag = min(sides), "--image-size" if len(sides) == 2 else "--patch"
        below, above = least // factor * factor, -(-least // factor) * factor
        sizes = " or ".join(str(side) for side in dict.fromkeys((below, above)) if side)
        raise DistvaeError(
            f"sides of {' x '.join(map(str, sides))} do not fit --downscale {factor}",
            f"expected sides that are multiples of {factor}",
            f"Take {flag} {sizes}, or another --downscale.",
        )
