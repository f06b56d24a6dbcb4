"""Sheets of pictures that a tool writes, and that a notebook shows.

Legend: N pictures, C channels, H height, W width, S the axes of an example.
"""

import os
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distvae.domains.levels import LEVELS, bytes_of
from distvae.errors import DistvaeError
from distvae.images import save_grid


@dataclass(frozen=True, eq=False)
class Sheet:
    """Pictures in rows."""

    images: NDArray[np.uint8]
    """``[N, C, H, W]``."""
    columns: int
    """Pictures in a row."""
    names: Sequence[str] = ()
    """Of the rows; empty where they have none."""
    caption: str = ""

    def write(self, path: Path) -> None:
        """Write a PNG file."""
        save_grid(path, self.images, self.columns, self.names, self.caption)


@dataclass(frozen=True, eq=False, kw_only=True)
class Pictured(ABC):
    """A result of a tool that has a sheet where its examples are pictures."""

    depth: int | None = LEVELS
    """Levels of a pixel."""

    @property
    @abstractmethod
    def examples(self) -> NDArray[Any]:
        """Some of its examples, as they are stored ``[..., *S]``."""

    @abstractmethod
    def sheet(self) -> Sheet:
        """Its pictures, as the command writes them."""

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the sheet as a PNG file.

        Raises:
            DistvaeError: the path does not end in ``.png``, or the examples are no pictures.
        """
        output = Path(path).expanduser()
        if output.suffix != ".png" or not self._of_pictures:
            raise DistvaeError(f"{output} does not fit", "expected a .png file, of pictures")
        output.parent.mkdir(parents=True, exist_ok=True)
        self.sheet().write(output)
        return output

    @property
    def _of_pictures(self) -> bool:
        shape = self.examples.shape
        kind = self.examples.dtype
        return kind in (np.uint8, np.uint16) and len(shape) >= 4 and shape[-3] in (1, 3)

    def pictures(self, stored: NDArray[Any]) -> NDArray[np.uint8]:
        """Examples as pictures of 8 bits, for a sheet."""
        return bytes_of(stored, self.depth or LEVELS)

    def _repr_png_(self) -> bytes | None:
        """The sheet, in a notebook; None where the examples are no pictures."""
        if not self._of_pictures:
            return None
        with tempfile.TemporaryDirectory() as scratch:
            return self.save(Path(scratch, "sheet.png")).read_bytes()
