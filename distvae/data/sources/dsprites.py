"""dSprites' own npz, or a smaller grid written like it."""

import math
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distvae.data.factors import Factor
from distvae.errors import DistvaeError

CHUNK = 1024


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
