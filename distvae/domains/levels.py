"""Even levels from 0 to 1: how they are stored, seen and shown. Importing it imports no torch.

Legend: S the axes of examples.
"""

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

LEVELS, MOST_LEVELS = 256, 65_536
"""Of 8 and of 16 bits."""
WHITE = LEVELS - 1


def kind_of_levels(levels: int) -> str:
    """The type of numbers in which so many levels are stored."""
    return "uint8" if levels <= LEVELS else "uint16"


def to_levels(values: "Tensor", levels: int = LEVELS) -> "Tensor":
    """Values in [0, 1] as levels, rounded, uint8 or uint16 in the same shape."""
    rounded = (values * float(levels - 1)).round()
    if levels <= LEVELS:
        return rounded.byte()
    import torch

    return rounded.to(torch.uint16)


def in_unit_range(stored: "Tensor", levels: int = LEVELS) -> "Tensor":
    """Levels as float32 in [0, 1], in the same shape."""
    return stored.div(float(levels - 1))


def bytes_of(stored: NDArray[Any], levels: int) -> NDArray[np.uint8]:
    """Levels ``[*S]`` as those of 8 bits, for screens: 256 of them as they are."""
    if levels == LEVELS:
        return stored
    scaled = stored.astype(np.float32) * np.float32((LEVELS - 1) / (levels - 1))
    result: NDArray[np.uint8] = np.rint(scaled).astype(np.uint8)
    return result


def noise_of_levels(seed: int, shape: tuple[int, ...], levels: int) -> NDArray[Any]:
    """Even noise of a shape, the same for a seed on every machine."""
    kind = np.dtype(kind_of_levels(levels)).newbyteorder("<")
    count = math.prod(shape)
    words = np.random.Philox(key=seed).random_raw(-(-count * kind.itemsize // 8)).astype("<u8")
    numbers = words.view(kind)[:count].reshape(shape)
    if levels < LEVELS**kind.itemsize:
        numbers = numbers % kind.type(levels)
    return numbers.astype(kind.newbyteorder("="), copy=False)
