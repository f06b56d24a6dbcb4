"""Sprites drawn here, whose factors of variation are known.

Legend: N images, H height, W width.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from distvae.config import DataConfig
from distvae.data.deep import as_picture
from distvae.data.factors import Factor, classes_of, sizes_of, values_of
from distvae.data.sources.raw import Notes, RawData, RawSplit
from distvae.data.sources.splits import choose_splits, finish

UNITS = 64.0
"""Geometry is told in 64ths of an image's side, so in the pixels of dSprites."""
FIRST, TRAVEL = 16.5, 31.0
"""Where the centre is at position 0, and how far from there at position 1."""
HALF_SIDE = 9.2
HALF_AXES = (13.3, 7.7)
HEART = 9.3
HEART_CENTROID = 0.2935
"""Above the origin of the heart's curve, in its own unit."""


class Grid(NamedTuple):
    """A set of sprites: its factors, and the side of an image in pixels unless told otherwise."""

    factors: tuple[Factor, ...]
    side: int

    def draw(self, rows: NDArray[np.int64], side: int) -> NDArray[np.uint8]:
        """The images of these rows, of 0 and 255, ``[N, side, side]``."""
        return render(values_of(self.factors, classes_of(self.factors, rows)), side)


def _square(u: NDArray[np.float64], v: NDArray[np.float64]) -> NDArray[np.bool_]:
    return np.maximum(np.abs(u), np.abs(v)) <= HALF_SIDE


def _ellipse(u: NDArray[np.float64], v: NDArray[np.float64]) -> NDArray[np.bool_]:
    return np.square(u / HALF_AXES[0]) + np.square(v / HALF_AXES[1]) <= 1.0


def _heart(u: NDArray[np.float64], v: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Inside of the sextic (a^2 + b^2 - 1)^3 = a^2 b^3, turned about its centroid."""
    a, b = u / HEART, HEART_CENTROID - v / HEART  # b points up
    return (a * a + b * b - 1.0) ** 3 <= a * a * b * b * b


SHAPES: Mapping[str, Callable[[NDArray[Any], NDArray[Any]], NDArray[np.bool_]]] = {
    "square": _square,
    "ellipse": _ellipse,
    "heart": _heart,
}


def _line(name: str, low: float, high: float, count: int, step: int) -> Factor:
    return Factor(name, tuple(np.linspace(low, high, count)[step // 2 :: step].tolist()))


def _sprites(side: int, scale: int, rotation: int, position: int) -> Grid:
    """Factors of dSprites (Matthey et al. 2017), of each of which every so many-th value."""
    return Grid(
        (
            Factor("shape", (1.0, 2.0, 3.0), categorical=True),
            _line("scale", 0.5, 1.0, 6, scale),
            _line("rotation", 0.0, 2.0 * math.pi, 40, rotation),
            _line("x", 0.0, 1.0, 32, position),
            _line("y", 0.0, 1.0, 32, position),
        ),
        side,
    )


GRIDS = {"sprites": _sprites(64, 1, 1, 1), "sprites:small": _sprites(32, 2, 4, 2)}
"""``sprites`` has dSprites' 737,280 images; ``sprites:small`` 3 x 3 x 10 x 16 x 16 of them."""


def render(values: NDArray[np.float64], side: int) -> NDArray[np.uint8]:
    """White sprites on black, without antialiasing: a pixel is white if its centre is inside.

    Args:
        values: shape (1, 2, 3), scale, rotation in radians, x to the right and y downwards,
            ``[N, 5]``.
        side: of the images, pixels.

    Returns:
        0 or 255, ``[N, side, side]``.
    """
    shape, scale, rotation, x, y = values.T[:, :, None]
    centres = (np.arange(side) + 0.5) * (UNITS / side)
    right = ((centres - FIRST - TRAVEL * x) / scale)[:, None, :]
    down = ((centres - FIRST - TRAVEL * y) / scale)[:, :, None]
    cos, sin = np.cos(rotation)[:, :, None], np.sin(rotation)[:, :, None]
    u, v = cos * right + sin * down, cos * down - sin * right
    images = np.zeros(u.shape, np.uint8)
    for number, inside in enumerate(SHAPES.values(), start=1):
        chosen = shape[:, 0] == number
        images[chosen] = inside(u[chosen], v[chosen]) * np.uint8(255)
    return images


def shape_names(factors: Sequence[Factor]) -> tuple[str, ...]:
    """The labels of sprites: what their shapes are called."""
    return tuple(list(SHAPES)[int(number) - 1] for number in factors[0].values)


def read_sprites(config: DataConfig) -> RawData:
    """Sprites drawn in the size that is asked for."""
    grid = GRIDS[config.data]
    side = config.image_size or grid.side
    return read_grid(config, grid.factors, lambda rows: grid.draw(rows, side))


def read_grid(
    config: DataConfig,
    factors: tuple[Factor, ...],
    fetch: Callable[[NDArray[np.int64]], NDArray[np.uint8]],
) -> RawData:
    """A whole grid of images, labelled by the first factor, their shape."""
    notes: Notes = []
    name, _ = choose_splits(config, ("train",), notes)
    rows = np.arange(math.prod(sizes_of(factors)))
    labels = classes_of(factors, rows)[:, 0]
    split = RawSplit(name, rows, labels, lambda rows: list(fetch(rows)), as_picture)
    return finish(config, split, None, shape_names(factors), notes, factors)
