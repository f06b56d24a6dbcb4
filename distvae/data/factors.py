"""Images whose factors of variation are known: sprites drawn here, and dSprites' own file.

Legend: N images, C channels, H height, W width, F factors.

A grid holds every combination of its factors' values exactly once and in order, the last factor
fastest, so the factors of an image follow from its row.
"""

import math
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from distvae.errors import DistvaeError

if TYPE_CHECKING:
    from distvae.data.image_data import ImageData

UNITS = 64.0
"""Geometry is told in 64ths of an image's side, so in the pixels of dSprites."""
FIRST, TRAVEL = 16.5, 31.0
"""Where the centre is at position 0, and how far from there at position 1."""
HALF_SIDE = 9.2
HALF_AXES = (13.3, 7.7)
HEART = 9.3
HEART_CENTROID = 0.2935
"""Above the origin of the heart's curve, in its own unit."""
CHUNK = 1024


@dataclass(frozen=True)
class Factor:
    """One way in which images vary: its values by class number."""

    name: str
    values: tuple[float, ...]
    categorical: bool = False
    """Whether the values are mere numbers of kinds, without an order."""


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


def classes_of(factors: Sequence[Factor], rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """The class of each factor in each of these rows of the grid, ``[N, F]``."""
    return np.stack(np.unravel_index(rows, _sizes(factors)), axis=1)


def values_of(factors: Sequence[Factor], classes: NDArray[np.int64]) -> NDArray[np.float64]:
    """The value of each factor ``[N, F]``."""
    columns = zip(factors, classes.T, strict=True)
    return np.stack([np.array(factor.values)[column] for factor, column in columns], axis=1)


def shape_names(factors: Sequence[Factor]) -> tuple[str, ...]:
    """The labels of sprites: what their shapes are called."""
    return tuple(list(SHAPES)[int(number) - 1] for number in factors[0].values)


def _sizes(factors: Sequence[Factor]) -> tuple[int, ...]:
    return tuple(len(factor.values) for factor in factors)


@dataclass(frozen=True, eq=False)
class FactorData:
    """A whole grid of images, by row.

    ``images`` gives uint8 ``[N, C, H, W]`` for the rows int64 ``[N]``.
    """

    factors: tuple[Factor, ...]
    images: Callable[[NDArray[np.int64]], NDArray[np.uint8]]

    @classmethod
    def of(cls, data: "ImageData") -> "FactorData":
        """The grid that opened data was split from.

        Raises:
            DistvaeError: its factors are not known.
        """
        if not data.factors:
            raise DistvaeError(
                f"the factors of {data.source} are not known",
                f"they are of {', '.join(GRIDS)} and of dSprites' npz",
                "Train on one of these, or leave out --metrics factors.",
            )
        splits = (data.train, data.test)
        place = np.empty((math.prod(_sizes(data.factors)), 2), np.int64)
        for number, split in enumerate(splits):
            assert split.rows is not None
            place[split.rows] = np.stack(
                [np.full(len(split), number), np.arange(len(split))], axis=1
            )

        def images(rows: NDArray[np.int64]) -> NDArray[np.uint8]:
            found = np.empty((len(rows), *data.image_shape), np.uint8)
            owner, index = place[rows].T
            for number, split in enumerate(splits):
                found[owner == number] = split.images[index[owner == number]]
            return found

        return cls(data.factors, images)

    def __len__(self) -> int:
        """The number of images."""
        return math.prod(self.sizes)

    @property
    def sizes(self) -> tuple[int, ...]:
        """The number of classes of each factor."""
        return _sizes(self.factors)

    def classes(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """The class of each factor in each row, ``[N, F]``."""
        return classes_of(self.factors, rows)

    def rows(self, classes: NDArray[np.int64]) -> NDArray[np.int64]:
        """The rows ``[N]`` of these classes ``[N, F]``."""
        rows: NDArray[np.int64] = np.ravel_multi_index(tuple(classes.T), self.sizes)
        return rows


@dataclass(frozen=True, eq=False)
class PackedImages:
    """Black-and-white images, eight pixels to a byte."""

    bits: NDArray[np.uint8]
    shape: tuple[int, int]

    def __call__(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Images of 0 and 255, ``[N, H, W]``."""
        pixels = np.unpackbits(self.bits[rows], axis=1, count=math.prod(self.shape))
        return pixels.reshape(-1, *self.shape) * np.uint8(255)


def read_dsprites(path: Path) -> tuple[tuple[Factor, ...], PackedImages]:
    """The factors and the images of dSprites' npz, or of a smaller grid written like it.

    Its ``metadata`` is a pickle and never looked at.

    Raises:
        DistvaeError: the file is damaged, or another npz.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            classes, values = arrays["latents_classes"], arrays["latents_values"]
        factors = _read_factors(classes, values)
        images = _read_images(path, len(classes))
    except (OSError, ValueError, KeyError, IndexError, zipfile.BadZipFile, zlib.error) as error:
        raise DistvaeError(
            f"{path} cannot be read as dSprites",
            f"{type(error).__name__}: {error}",
            "Expected the whole npz with imgs, latents_classes and latents_values.",
        ) from error
    return factors, images


def _read_factors(classes: NDArray[Any], values: NDArray[Any]) -> tuple[Factor, ...]:
    """The factors behind the columns color, shape, scale, orientation, x, y; color is one."""
    sizes = tuple((classes.max(axis=0) + 1).tolist())
    rows = np.arange(math.prod(sizes))
    complete = np.stack(np.unravel_index(rows, sizes), axis=1)
    if len(sizes) != 6 or sizes[0] != 1 or not np.array_equal(classes, complete):
        raise ValueError("latents_classes is no complete grid in order")
    names = ("shape", "scale", "rotation", "x", "y")
    factors = []
    for column, name in enumerate(names, start=1):
        _, first = np.unique(classes[:, column], return_index=True)
        found = tuple(values[first, column].astype(float).tolist())
        factors.append(Factor(name, found, categorical=name == "shape"))
    if not set(factors[0].values) <= {1.0, 2.0, 3.0}:
        raise ValueError("a shape is none of 1, 2 and 3")
    return tuple(factors)


def _read_images(path: Path, count: int) -> PackedImages:
    """Packed while they are read: the whole would take 3 GB."""
    header = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    with zipfile.ZipFile(path) as archive, archive.open("imgs.npy") as member:
        shape, fortran, kind = header[np.lib.format.read_magic(member)](member)
        if len(shape) != 3 or shape[0] != count or fortran or kind != np.uint8:
            raise ValueError(f"imgs is {kind} {shape}, expected uint8 ({count}, height, width)")
        dims = shape[1] * shape[2]
        bits = np.empty((count, -(-dims // 8)), np.uint8)
        for start in range(0, count, CHUNK):
            size = min(CHUNK, count - start)
            pixels = np.frombuffer(member.read(size * dims), np.uint8).reshape(size, dims)
            if pixels.max(initial=0) > 1:
                raise ValueError(f"imgs holds {pixels.max()}, expected 0 and 1")
            bits[start : start + size] = np.packbits(pixels, axis=1)
    return PackedImages(bits, (shape[1], shape[2]))
