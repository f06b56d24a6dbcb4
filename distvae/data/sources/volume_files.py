"""Volumes in local files, one after the other: NIfTI, series of DICOM, TIFF, npy.

Legend: D depth, H height, W width.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from distvae.data.sources.refused import ending
from distvae.data.sources.trees import visible_files
from distvae.domains.volume_files import is_nifti, package
from distvae.errors import DistvaeError
from distvae.labels import natural_order

DICOM, TIFF, NPY = (".dcm", ".dicom"), (".tif", ".tiff"), (".npy",)


class Scan(NamedTuple):
    """A volume as its file has it."""

    values: NDArray[Any]
    """``[D, H, W]``."""
    spacing: tuple[float, float, float]
    """Millimetres along D, H and W."""
    affine: NDArray[np.float64] | None
    """From voxels (W, H, D) to millimetres; None where the file does not say."""


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


def is_volume(path: Path) -> bool:
    """Whether a file is a volume, or a slice of one, and nothing else."""
    return is_nifti(path) or ending(path.name) in DICOM


def scans_in(path: Path, asked: bool = True) -> list[ScanFile]:
    """The volumes of a file or folder, in a fixed order.

    Args:
        path: of the file or folder.
        asked: whether TIFF and npy files, which may be images, are volumes too.

    Raises:
        DistvaeError: a package is missing, or a file cannot be read.
    """
    files = [path] if path.is_file() else list(visible_files(path))
    files = sorted(files, key=lambda file: natural_order(str(file)))
    found = [ScanFile(file.name, file, partial(_nifti, file)) for file in files if is_nifti(file)]
    slices = [file for file in files if ending(file.name) in DICOM]
    if slices:
        found += _series(slices)
    if asked:
        for file in files:
            if ending(file.name) in TIFF:
                found.append(ScanFile(file.name, file, partial(_tiff, file)))
            elif ending(file.name) in NPY:
                found += _arrays(file)
    return found


def _nifti(path: Path) -> Scan:
    nibabel = package("nibabel", str(path))
    with _naming(path):
        image = nibabel.as_closest_canonical(nibabel.load(path))
        slope, inter = image.dataobj.slope, image.dataobj.inter
        raw = np.asarray(image.dataobj.get_unscaled())
    values = raw if (slope, inter) == (1.0, 0.0) else (raw * slope + inter).astype(np.float32)
    values = values[..., 0] if values.ndim == 4 and values.shape[3] == 1 else values
    if values.ndim != 3:
        raise DistvaeError(
            f"{path} has {values.ndim} axes", "expected 3", "Write each volume of it to a file."
        )
    across, down, deep = (float(each) for each in image.header.get_zooms()[:3])
    return Scan(values.transpose(2, 1, 0), (deep, down, across), np.asarray(image.affine))


def _series(files: Sequence[Path]) -> list[ScanFile]:
    """Slices of DICOM by the series that they say they are of."""
    pydicom = package("pydicom", str(files[0]))
    by_series: dict[str, list[tuple[float, Path]]] = {}
    for file in files:
        with _naming(file):
            head = pydicom.dcmread(file, stop_before_pixels=True)
            by_series.setdefault(str(head.get("SeriesInstanceUID", "")), []).append(
                (_along(head), file)
            )
    counts = Counter(slices[0][1].parent for slices in by_series.values())
    found: list[ScanFile] = []
    for slices in by_series.values():
        slices.sort(key=lambda one: (one[0], natural_order(str(one[1]))))
        paths = [file for _, file in slices]
        together = counts[paths[0].parent]
        which = f", series {sum(one.path.parent == paths[0].parent for one in found) + 1}"
        name = f"{paths[0].parent.name}{which if together > 1 else ''} ({len(paths)} slices)"
        places = [place for place, _ in slices]
        found.append(ScanFile(name, paths[0], partial(_dicom, paths, places), series=True))
    return found


def _along(head: Any) -> float:
    """Where a slice lies along the normal of its series, in millimetres."""
    position, axes = head.get("ImagePositionPatient"), head.get("ImageOrientationPatient")
    if position is None or axes is None:
        return float(head.get("InstanceNumber") or 0)
    normal = np.cross(np.array(axes[:3], float), np.array(axes[3:], float))
    return float(normal @ np.array(position, float))


def _dicom(paths: Sequence[Path], places: Sequence[float]) -> Scan:
    pydicom = package("pydicom", str(paths[0]))
    slices, scales = [], set()
    for path in paths:
        with _naming(path):
            one = pydicom.dcmread(path)
            slices.append(np.asarray(one.pixel_array))
            scales.add((float(one.get("RescaleSlope", 1)), float(one.get("RescaleIntercept", 0))))
    shapes = {each.shape for each in slices}
    if len(shapes) > 1 or len(scales) > 1:
        raise DistvaeError(
            f"slices of {paths[0].parent} differ in size or scale",
            "expected one series of equal ones",
        )
    values = slices[0] if slices[0].ndim == 3 else np.stack(slices)
    (slope, inter), down_across = scales.pop(), one.get("PixelSpacing", (1.0, 1.0))
    if (slope, inter) != (1.0, 0.0):
        whole = slope == int(slope) and inter == int(inter)
        values = (values * slope + inter).astype(np.int32 if whole else np.float32)
        if whole and values.min() >= -(2**15) and values.max() < 2**15:
            values = values.astype(np.int16)
    gaps = np.diff(places)
    deep = float(np.median(gaps)) if len(gaps) and np.median(gaps) > 0 else 0.0
    deep = deep or float(one.get("SliceThickness") or 1.0)
    return Scan(values, (deep, float(down_across[0]), float(down_across[1])), None)


def _tiff(path: Path) -> Scan:
    """Pages as slices; by Pillow, which reads grey of 8 and 16 bits, and floats."""
    from PIL import Image, ImageSequence

    with _naming(path), Image.open(path) as image:
        if image.mode not in ("L", "F", "I") and not image.mode.startswith("I;16"):
            raise ValueError(f"its pages are {image.mode}, and grey ones were expected")
        values = np.stack([np.asarray(page) for page in ImageSequence.Iterator(image)])
    return Scan(values, (1.0, 1.0, 1.0), None)


def _arrays(path: Path) -> Iterator[ScanFile]:
    """An array of one volume ``[D, H, W]``, or of several ``[N, D, H, W]``."""
    with _naming(path):
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


@contextmanager
def _naming(path: Path) -> Iterator[None]:
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
