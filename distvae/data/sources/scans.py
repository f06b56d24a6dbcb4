"""What a volume in a file is, whatever the format.

Legend: D depth, H height, W width.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from distvae.domains.levels import kind_of_levels
from distvae.domains.volume_files import Grid
from distvae.errors import DistvaeError


class Scan(NamedTuple):
    """A volume as its file has it."""

    values: NDArray[Any]
    """``[D, H, W]``."""
    spacing: tuple[float, float, float]
    """Millimetres along D, H and W."""
    affine: NDArray[np.float64] | None
    """From voxels (W, H, D) to millimetres; None where the file does not say."""


@dataclass(frozen=True, eq=False)
class Leveled:
    """A volume's levels ``[1, D, H, W]``, made of its values when a part is asked for.

    So a file that lies in a memory map is never in memory as a whole.
    """

    scan: Scan
    grid: Grid
    levels: int

    @property
    def shape(self) -> tuple[int, ...]:
        """``1, D, H, W``."""
        return (1, *self.scan.values.shape)

    @property
    def ndim(self) -> int:
        """4."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Voxels."""
        return self.scan.values.size

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the levels."""
        return np.dtype(kind_of_levels(self.levels))

    def __getitem__(self, place: Any) -> NDArray[Any]:
        """The levels of a part: slices along some of the first axes."""
        channels, *sides = place if isinstance(place, tuple) else (place,)
        return self.grid.levels(self.scan.values[tuple(sides)], self.levels)[None][channels]

    def cut(self, sides: tuple[slice, ...]) -> "Leveled":
        """A part ``[1, d, h, w]``, not made yet."""
        scan = self.scan._replace(values=self.scan.values[sides], affine=self._affine(sides))
        return Leveled(scan, self.grid, self.levels)

    def _affine(self, sides: tuple[slice, ...]) -> NDArray[np.float64] | None:
        """That of a part, whose first voxel lies elsewhere."""
        if self.scan.affine is None:
            return None
        starts = [each.start or 0 for each in (*sides, *[slice(0)] * 3)][:3]
        moved = np.eye(4)
        moved[:3, 3] = starts[::-1]
        found: NDArray[np.float64] = self.scan.affine @ moved
        return found


@dataclass(frozen=True, eq=False)
class ScanFile:
    """A file, or the files of a series, and how they are read."""

    name: str
    """For people."""
    path: Path
    """Of the file, or of the first one of a series."""
    read: Callable[[], Scan]
    series: bool = False
    """Whether it is a folder of slices, or a part of one."""


def rescaled(values: NDArray[Any], slope: float, inter: float) -> NDArray[Any]:
    """Values as their file scales them: whole numbers where these stay whole."""
    if (slope, inter) == (1.0, 0.0):
        return values
    exact = values.astype(np.float64) * slope + inter
    if values.dtype.kind == "f" or slope != int(slope) or inter != int(inter):
        return exact.astype(np.float32)
    low, high = (exact.min(), exact.max()) if exact.size else (0, 0)
    kinds = [values.dtype, *map(np.dtype, ("int16", "uint16", "int32", "uint32", "int64"))]
    return exact.astype(
        next(
            (kind for kind in kinds if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max),
            np.float64,
        )
    )


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Any failure as one of a file."""
    try:
        yield
    except DistvaeError:
        raise
    except Exception as error:  # the packages raise whatever a broken file leads them to
        raise DistvaeError(
            f"cannot read {path}",
            f"{type(error).__name__}: {error}",
            "Repair or remove that file.",
        ) from error
