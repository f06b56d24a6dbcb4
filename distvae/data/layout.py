"""How the numbers of an image are arranged, judged by their shape and their smoothness.

Legend: N images, H height, W width, C channels.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

CHANNELS = (1, 2, 3, 4)
"""Grey, grey with transparency, colour, colour with transparency."""


@dataclass(frozen=True)
class Layout:
    """How the values of an image are arranged."""

    order: str
    """``HW``, ``HWC`` or ``CHW``."""
    shape: tuple[int, ...]
    """In that order."""

    def arrange(self, values: NDArray[Any]) -> NDArray[Any]:
        """Values ``[N, ...]`` as ``[N, H, W]`` or ``[N, H, W, C]``, C from 2 up."""
        values = values.reshape(len(values), *self.shape)
        if self.order == "CHW":
            values = values.transpose(0, 2, 3, 1)
        return values[..., 0] if values.ndim == 4 and values.shape[-1] == 1 else values


def find_layout(sample: NDArray[Any]) -> Layout | None:
    """The likeliest layout of images ``[N, ...]``: the smoothest that their shape allows."""
    fitting = _fitting(sample.shape[1:])
    if len(fitting) < 2:
        return next(iter(fitting), None)
    return min(fitting, key=lambda layout: _roughness(layout.arrange(sample)))


def _fitting(inner: tuple[int, ...]) -> list[Layout]:
    """The layouts that an image of this shape can have, the likelier first."""
    if len(inner) == 1:
        result = []
        for channels in (1, 3):
            side = math.isqrt(inner[0] // channels)
            if side > 1 and channels * side * side == inner[0]:
                last = (side, side) if channels == 1 else (side, side, 3)
                result.append(Layout("HW" if channels == 1 else "HWC", last))
                if channels == 3:
                    result.append(Layout("CHW", (3, side, side)))
        return result
    if len(inner) == 2:
        return [Layout("HW", inner)]
    if len(inner) != 3:
        return []
    ends = (("HWC", inner[2]), ("CHW", inner[0]))
    return [Layout(order, inner) for order, channels in ends if channels in CHANNELS][:2]


def _roughness(images: NDArray[Any]) -> float:
    """Mean step between neighbours in a row: small where the layout is the right one."""
    if images.shape[2] < 2:
        return math.inf
    return float(np.abs(np.diff(images.astype(np.float64), axis=2)).mean())
