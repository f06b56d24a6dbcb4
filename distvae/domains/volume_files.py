"""Volumes as files, with the type of numbers and the spacing that their data have. No torch.

Legend: N volumes, D depth, H height, W width.
"""

import importlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from distvae.drawings import Drawing, check_at_once, check_room
from distvae.errors import DistvaeError
from distvae.files import new_folder, replacing_file

NIFTI = (".nii.gz", ".nii")


class Grid(NamedTuple):
    """How levels become the numbers of a file."""

    lowest: float
    """The value of level 0."""
    step: float
    """From a level to the next one."""
    kind: str
    """Of numbers, by NumPy's name."""
    spacing: tuple[float, float, float]
    """Millimetres along D, H and W."""

    def values(self, levels: NDArray[Any]) -> NDArray[Any]:
        """Levels, or numbers between them, in the units of the files and of their type."""
        kind = np.dtype(self.kind)
        found = np.empty(levels.shape, kind)
        for part, place in zip(levels, found, strict=True):  # slice by slice: memory for one
            exact = self.lowest + self.step * part.astype(np.float64)
            if kind.kind in "iu":
                exact = np.rint(exact).clip(np.iinfo(kind).min, np.iinfo(kind).max)
            place[...] = exact
        return found

    def levels(self, values: NDArray[Any], count: int) -> NDArray[Any]:
        """Numbers of a file as levels, cut to those that there are.

        Raises:
            DistvaeError: one is not finite.
        """
        found = np.empty(values.shape, np.uint8 if count <= 256 else np.uint16)
        for part, place in zip(values, found, strict=True):  # slice by slice: memory for one
            exact = (part.astype(np.float64) - self.lowest) / self.step
            if not np.isfinite(exact).all():
                raise DistvaeError("some voxels are not finite", "expected a number for each")
            place[...] = np.rint(exact).clip(0, count - 1)
        return found


def package(name: str, what: str) -> Any:
    """A package of the extra for volumes.

    Raises:
        DistvaeError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise DistvaeError(
            f"{what} needs {name}",
            "it is not installed here",
            "pip install 'distvae[volumes]', or give arrays as .npy.",
        ) from error


def is_nifti(path: Path) -> bool:
    """Whether a file is called as one of NIfTI."""
    return path.name.lower().endswith(NIFTI)


def write_volume(
    path: Path, values: NDArray[Any], grid: Grid, affine: NDArray[np.float64] | None = None
) -> None:
    """Write one volume ``[D, H, W]``, whole or not at all.

    Args:
        path: ends in ``.nii.gz``, ``.nii`` or ``.npy``.
        values: in the units and of the type of the files.
        grid: whose spacing is written.
        affine: from voxels (W, H, D) to millimetres; left out: the spacing along the axes.

    Raises:
        DistvaeError: nibabel is not installed.
    """
    if not is_nifti(path):
        with replacing_file(path) as temporary, temporary.open("wb") as file:
            np.save(file, values, allow_pickle=False)
        return
    nibabel = package("nibabel", str(path))
    if affine is None:
        affine = np.diag([*reversed(grid.spacing), 1.0])
    image = nibabel.Nifti1Image(
        np.ascontiguousarray(values.transpose(2, 1, 0)), affine, dtype=values.dtype
    )
    image.header.set_xyzt_units("mm")
    with replacing_file(path) as temporary:
        content = image.to_bytes()
        if path.name.lower().endswith(".gz"):
            import gzip

            content = gzip.compress(content, 6, mtime=0)
        temporary.write_bytes(content)


def write_volumes(output: Path, drawing: Drawing, grid: Grid) -> None:
    """Drawn volumes in the units of the data: one file, an array of all, or a folder of .nii.gz.

    Raises:
        DistvaeError: several are asked for in a file for one.
    """
    if output.suffix == ".npy":
        check_at_once(output, drawing)
        whole = np.concatenate([levels[:, 0] for levels, _ in drawing])
        write_volume(output, grid.values(whole), grid)
        return
    if output.suffix:
        if drawing.total != 1:
            raise DistvaeError(
                f"--output {output} holds one volume, and {drawing.total:,} are asked for",
                "a folder or an .npy holds several",
                "Take --count 1, or a name without an ending.",
            )
        for levels, _ in drawing:
            write_volume(output, grid.values(levels[0, 0]), grid)
        return
    check_room(output, drawing.total * 352, "volumes")
    number = 0
    with new_folder(output) as folder:
        for levels, _ in drawing:
            for volume in levels:
                write_volume(folder / f"{number:05d}.nii.gz", grid.values(volume[0]), grid)
                number += 1
