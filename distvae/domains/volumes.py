"""Volumes: patches of scans and other images of three sides.

Legend: B batch, N volumes, C channels, D depth, H height, W width.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from distvae.domains.base import EACH, View, refuse_other_types
from distvae.domains.levelled import Levelled
from distvae.domains.levels import (
    LEVELS,
    MOST_LEVELS,
    bytes_of,
)
from distvae.domains.volume_files import Grid, write_volumes
from distvae.drawings import Drawing, write_arrays
from distvae.errors import DistvaeError
from distvae.parts import DomainPart, Need
from distvae.values import Within

if TYPE_CHECKING:
    from torch import Tensor

Side = Annotated[int, Within(1, 2**12)]
Real = Annotated[float, Within(-1e300, 1e300)]
Positive = Annotated[float, Within(0.0, 1e300, open=True)]


@dataclass(frozen=True)
class VolumesPart(DomainPart):
    """Volumes: .nii and .nii.gz files, series of DICOM, TIFF of several pages, npy.

    The model sees patches of --patch voxels a side.
    """

    name = "volumes"
    builds = "Volumes"
    traits = ("levels", "grid")
    usual = True
    examples = "patches"
    axes = 4
    needs = (
        Need("binarize", (None, "none"), "voxels have levels"),
        Need("streaming", (False,), "volumes are read at once"),
    )

    patch: Annotated[int, Within(4, 512)] | None = None
    """Voxels a side of the patches that a model sees; left out: 32, or the shortest side."""


@dataclass(frozen=True)
class Volumes(Levelled):
    """Patches of volumes, of which a model sees float32 in [0, 1]."""

    shape: tuple[Annotated[int, Within(1, 1)], Side, Side, Side]
    """``(1, D, H, W)``."""
    levels: Annotated[int, Within(2, MOST_LEVELS)] = LEVELS
    """Even levels in which voxels are kept, from the lowest value to the highest."""
    lowest: Real = 0.0
    """The value of level 0."""
    step: Positive = 1.0
    """By how much the value of a level exceeds that of the one below."""
    kind: str = "uint8"
    """The type of numbers of the files, by NumPy's name."""
    spacing: tuple[Positive, Positive, Positive] = (1.0, 1.0, 1.0)
    """Millimetres from voxel to voxel, along D, H and W."""

    part = VolumesPart
    field_name, tensor = "volumes", "volume"
    writers: ClassVar = {
        "": "a folder of volumes",
        ".nii.gz": "one volume with its spacing",
        ".nii": "the same, not compressed",
        ".tif": "one volume, a page for each slice, with its spacing as ImageJ has it",
        ".npy": "an array of all",
        ".npz": "arrays of levels",
    }

    @classmethod
    def of(
        cls, columns: Sequence[str], stored: NDArray[Any], binarize: str = "none", **facts: Any
    ) -> "Volumes":
        """The domain of volumes ``[N, 1, D, H, W]``; its facts are what their files say."""
        known: Any = {name: tuple(it) if isinstance(it, list) else it for name, it in facts.items()}
        return cls(tuple(stored.shape[1:]), **known)

    @classmethod
    def read(cls, values: NDArray[Any], columns: Sequence[str], where: str) -> NDArray[Any]:
        """Levels ``[N, 1, D, H, W]`` as they are."""
        if values.dtype not in (np.uint8, np.uint16):
            raise DistvaeError(
                f"{where} holds {values.dtype}",
                "expected levels: uint8 or uint16, as .npz has them",
            )
        return values

    @property
    def grid(self) -> Grid:
        """How levels become the numbers of a file."""
        return Grid(self.lowest, self.step, self.kind, self.spacing)

    @property
    def told(self) -> str:
        """``patches of volumes 1xDxHxW``, and their levels where these are not 256."""
        levels = "" if self.levels == LEVELS else f" of {self.levels:,} levels"
        return f"patches of volumes {'x'.join(map(str, self.shape))}{levels}"

    def settings(self) -> dict[str, Any]:
        """The patch."""
        return {"binarize": "none", "patch": max(self.shape[1:])}

    def pictures(self, stored: NDArray[Any]) -> NDArray[np.uint8]:
        """The three middle slices of each, side by side ``[N, 1, S, 3 S]``, for screens."""
        depth, height, width = self.shape[1:]
        side = max(depth, height, width)
        sheet = np.zeros((len(stored), 1, side, 3 * side), np.uint8)
        shown = bytes_of(stored[:, 0], self.levels)
        for number, axis in enumerate((1, 2, 3)):
            middle = shown.take(shown.shape[axis] // 2, axis)
            rows, columns = middle.shape[1:]
            sheet[:, 0, :rows, number * side : number * side + columns] = middle
        return sheet

    def to_input(self, stored: "Tensor", uniforms: "Tensor | None") -> "Tensor":
        """Levels ``[B, 1, D, H, W]`` as float32 in [0, 1]."""
        return self.to_values(stored)

    def checked_input(self, inputs: "Tensor") -> "Tensor":
        """Volumes ``[B, 1, D, H, W]``, floating point in [0, 1], as they are."""
        refuse_other_types(inputs, "volumes", f"Divide levels by {self.levels - 1}")
        if inputs.dim() != 5 or tuple(inputs.shape[1:]) != self.shape:
            raise DistvaeError(
                f"volumes have shape {list(inputs.shape)}",
                f"expected [B, {', '.join(map(str, self.shape))}] for this model",
            )
        self.refuse_out_of_range(inputs)
        return inputs

    def place(self, index: Sequence[int]) -> str:
        """``voxel (c, z, y, x)``."""
        return f"voxel {(*map(int, index),)}"

    @property
    def title(self) -> tuple[str, str]:
        """Sides and spacing."""
        spacing = " x ".join(f"{each:.3g}" for each in self.spacing)
        return "volume (C, D, H, W)", f"{' x '.join(map(str, self.shape))}, {spacing} mm a voxel"

    def summary(self, stored: NDArray[Any]) -> list[tuple[str, str]]:
        """Which values levels stand for."""
        highest = self.lowest + (self.levels - 1) * self.step
        told = f"{self.lowest:g} to {highest:g} in {self.levels:,} steps, {self.kind} in files"
        return [("values", told)]

    def line(self, sample: str) -> str:
        """Volumes in [0, 1], as the model draws them."""
        return f"volumes = {sample}  # [16, {', '.join(map(str, self.shape))}] in [0, 1]"

    def writer(self, ending: str) -> Callable[[Path, Drawing], None]:
        """Volumes in the units of their files."""
        return write_arrays if ending == ".npz" else partial(write_volumes, grid=self.grid)

    def show(self, view: View, folder: Path, epoch: int) -> None:
        """``epoch-NNNN.png``, slices of samples, and ``reconstructions-NNNN.png``, pairs."""
        from distvae.images import paired, save_grid

        drawn, columns = view.samples(), math.isqrt(EACH)
        caption = f"epoch {epoch}: three middle slices of generated volumes"
        pictures = self.pictures(drawn.stored)
        save_grid(folder / f"epoch-{epoch:04d}.png", pictures, columns, (), caption)
        originals, decoded = view.reconstructed(EACH)
        if len(originals):
            columns = min(columns, len(originals))
            sheet = paired(self.pictures(originals), self.pictures(decoded), columns)
            names = ["original", "reconstruction"] * -(-len(originals) // columns)
            caption = f"epoch {epoch}: middle slices of volumes and the decoder's mean for each"
            path = folder / f"reconstructions-{epoch:04d}.png"
            save_grid(path, sheet, columns, names, caption)
