"""Volumes as files, with the type of numbers and the spacing that their data have. No torch.

Legend: N volumes, D depth, H height, W width.
"""

import importlib
import io
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from distvae.domains import volume_tiff
from distvae.drawings import Drawing, check_at_once, check_room
from distvae.errors import DistvaeError
from distvae.files import new_folder, replacing_file

NIFTI, TIFF = (".nii.gz", ".nii"), (".tif", ".tiff")
Add = Callable[[NDArray[Any]], None]
"""Writes slices ``[d, H, W]``."""


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
        path: ends in ``.nii.gz``, ``.nii``, ``.tif`` or ``.npy``.
        values: in the units and of the type of the files.
        grid: whose spacing is written.
        affine: from voxels (W, H, D) to millimetres; left out: the spacing along the axes.

    Raises:
        DistvaeError: nibabel is not installed, or the format has no such numbers.
    """
    with volume_writer(path, values.shape, values.dtype, grid.spacing, affine) as add:
        add(values)


@contextmanager
def volume_writer(
    path: Path,
    shape: Sequence[int],
    kind: np.dtype[Any],
    spacing: tuple[float, float, float],
    affine: NDArray[np.float64] | None = None,
) -> Iterator[Add]:
    """What adds slices ``[d, H, W]`` to a file, whole in the end or not there.

    Args:
        path: as of :func:`write_volume`.
        shape: ``D, H, W``.
        kind: of the numbers.
        spacing: millimetres along D, H and W.
        affine: as there; of NIfTI alone.

    Raises:
        DistvaeError: nibabel is not installed, or the format has no such numbers.
    """
    kind = np.dtype(kind).newbyteorder("<")
    with replacing_file(path) as temporary, temporary.open("w+b") as file:
        if path.suffix.lower() in TIFF:
            with volume_tiff.pages(file, shape, kind, spacing) as add:
                yield add
            return
        if not is_nifti(path):
            known = {"descr": kind.str, "fortran_order": False, "shape": tuple(shape)}
            np.lib.format.write_array_header_1_0(file, known)
        packing = zlib.compressobj(6, wbits=31) if path.name.lower().endswith(".gz") else None

        def put(content: bytes) -> None:
            file.write(content if packing is None else packing.compress(content))

        if is_nifti(path):
            put(_nifti_header(path, shape, kind, spacing, affine))
        yield lambda slices: put(np.ascontiguousarray(slices, kind).tobytes())
        if packing is not None:
            file.write(packing.flush())


def _nifti_header(
    path: Path,
    shape: Sequence[int],
    kind: np.dtype[Any],
    spacing: tuple[float, float, float],
    affine: NDArray[np.float64] | None,
) -> bytes:
    """All that stands before the voxels, which lie with W the fastest."""
    nibabel = package("nibabel", str(path))
    if affine is None:
        affine = np.diag([*reversed(spacing), 1.0])
    nothing = np.broadcast_to(np.zeros((), kind), tuple(reversed(shape)))
    header = nibabel.Nifti1Image(nothing, affine, dtype=kind).header
    header.set_xyzt_units("mm")
    header.set_data_offset(0)
    header.set_slope_inter(1.0, 0.0)
    file = io.BytesIO()
    header.write_to(file)
    return file.getvalue()


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
