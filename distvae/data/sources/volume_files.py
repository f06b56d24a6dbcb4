"""Volumes in local files, one after the other: NIfTI, series of DICOM, TIFF, npy.

Legend: D depth, H height, W width.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distvae.data.sources.dicom import ENDINGS, is_dicom, series_of
from distvae.data.sources.raw import Notes
from distvae.data.sources.refused import ending
from distvae.data.sources.scans import Scan, ScanFile, naming, rescaled
from distvae.data.sources.text import TEXT
from distvae.data.sources.trees import visible_files
from distvae.domains.volume_files import TIFF, is_nifti, package
from distvae.domains.volume_tiff import spacing_of
from distvae.errors import DistvaeError
from distvae.labels import natural_order

NPY = (".npy",)
MILLIMETRES = {"meter": 1e3, "micron": 1e-3}
"""Of the unit that a header names; any other is a millimetre."""
LEAST = 4
"""Voxels of a side."""
STORED = {"?": "uint8", "e": "float32"}
"""Types of numbers that no format of volumes has, by NumPy's letter, and what they are taken as."""


def is_volume(path: Path) -> bool:
    """Whether a file is a volume, or a slice of one, and nothing else."""
    return is_nifti(path) or ending(path.name) in ENDINGS


def scans_in(path: Path, notes: Notes) -> list[ScanFile]:
    """The volumes of a file or folder, in a fixed order.

    Args:
        path: of the file or folder.
        notes: is told which files are no volumes.

    Raises:
        DistvaeError: a package is missing, or a file cannot be read.
    """
    files = [path] if path.is_file() else list(visible_files(path))
    files = sorted(files, key=lambda file: natural_order(str(file)))
    found, slices, others = list[ScanFile](), list[Path](), Counter[str]()
    for file in files:
        if is_nifti(file):
            found.append(ScanFile(file.name, file, partial(_nifti, file)))
        elif is_dicom(file):
            slices.append(file)
        elif ending(file.name) in TIFF:
            found.append(ScanFile(file.name, file, partial(_tiff, file)))
        elif ending(file.name) in NPY:
            found += _arrays(file)
        elif not (ending(file.name) in TEXT and file.parent == path):
            others[ending(file.name) or "endless"] += 1
    if slices:
        found += series_of(slices, notes)
    if others:
        told = ", ".join(f"{count:,} {kind}" for kind, count in sorted(others.items()))
        notes.append(f"skipped: {told} {'file' if others.total() == 1 else 'files'}")
    return [replace(one, read=partial(_checked, one)) for one in found]


def _checked(file: ScanFile) -> Scan:
    """A scan of numbers with some voxels along each side."""
    scan = file.read()
    kind, shape = scan.values.dtype, scan.values.shape
    if kind.kind not in "iufb":
        raise DistvaeError(f"the voxels of {file.name} are {kind}", "expected one number for each")
    if min(shape) < LEAST:
        raise DistvaeError(
            f"{file.name} is {' x '.join(map(str, shape))} voxels",
            f"expected at least {LEAST} along each side of a volume",
            "Single slices are images: write them as PNG or TIFF, and leave --domain out."
            if 1 in shape
            else "",
        )
    stored = np.dtype(STORED.get(kind.char, kind))
    return scan._replace(values=scan.values.astype(stored, copy=False))


def _nifti(path: Path) -> Scan:
    """Axes in the order and direction of the body, right, front and up, as near as may be."""
    nibabel = package("nibabel", str(path))
    with naming(path):
        image = nibabel.load(path)
        order = nibabel.io_orientation(image.affine)
        turned = nibabel.orientations.apply_orientation(image.dataobj.get_unscaled(), order)
        values = rescaled(np.asarray(turned), image.dataobj.slope, image.dataobj.inter)
        back = nibabel.orientations.inv_ornt_aff(order, image.shape[:3])
        unit = MILLIMETRES.get(image.header.get_xyzt_units()[0], 1.0)
        zooms = np.array(image.header.get_zooms()[:3], float)
    while values.ndim > 3 and values.shape[-1] == 1:
        values = values[..., 0]
    if values.ndim != 3:
        raise DistvaeError(
            f"{path} has {values.ndim} axes", "expected 3", "Write each volume of it to a file."
        )
    across, down, deep = np.where(zooms > 0, zooms * unit, 1.0)[np.argsort(order[:, 0])].tolist()
    affine = np.diag([unit, unit, unit, 1.0]) @ image.affine @ back
    return Scan(values.transpose(2, 1, 0), (deep, down, across), affine)


def _tiff(path: Path) -> Scan:
    """Pages as slices, with the spacing that ImageJ writes.

    By Pillow, which reads grey of 8 and 16 bits, and floats.
    """
    from PIL import Image, ImageSequence

    with naming(path), Image.open(path) as image:
        if image.mode not in ("L", "F", "I") and not image.mode.startswith("I;16"):
            raise ValueError(f"its pages are {image.mode}, and grey ones were expected")
        spacing = spacing_of(getattr(image, "tag_v2", {})) or (1.0, 1.0, 1.0)
        values = np.stack([np.asarray(page) for page in ImageSequence.Iterator(image)])
    return Scan(values, spacing, None)


def _arrays(path: Path) -> Iterator[ScanFile]:
    """An array of one volume ``[D, H, W]``, or of several ``[N, D, H, W]``."""
    with naming(path):
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    array = array[:, 0] if array.ndim == 5 and array.shape[1] == 1 else array
    if array.ndim not in (3, 4) or array.dtype.kind not in "iufb":
        raise DistvaeError(
            f"{path} is {array.dtype} {list(array.shape)}",
            "expected numbers, depth x height x width, or several of these",
        )
    parts = array[None] if array.ndim == 3 else array
    for number in range(len(parts)):
        name = path.name if len(parts) == 1 else f"{path.name}, volume {number}"
        part = parts[number]
        yield ScanFile(name, path, partial(_given, part))


def _given(values: NDArray[Any]) -> Scan:
    return Scan(np.asarray(values), (1.0, 1.0, 1.0), None)
