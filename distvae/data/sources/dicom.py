"""Series of DICOM: which files are slices of one volume, and in which order.

Legend: D depth, H height, W width.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from distvae.data.sources.raw import Notes
from distvae.data.sources.refused import ending
from distvae.data.sources.scans import Scan, ScanFile, naming, rescaled
from distvae.domains.volume_files import package
from distvae.errors import DistvaeError
from distvae.labels import natural_order
from distvae.text import counted

ENDINGS = (".dcm", ".dicom")
MAGIC, AT = b"DICM", 128
"""What a file begins with, whatever it is called, and where."""
EVEN = 0.01
"""By how much gaps between slices may differ, of themselves."""


class Slice(NamedTuple):
    """One file of a series."""

    path: Path
    place: float | None
    """Along the normal of the series, in millimetres; None where it does not say."""
    number: int
    """By which slices are ordered that do not say where they are."""


def is_dicom(path: Path) -> bool:
    """Whether a file is called so, or is called nothing and begins so."""
    suffix = ending(path.name)
    if suffix or path.name == "DICOMDIR":
        return suffix in ENDINGS
    try:
        with path.open("rb") as file:
            file.seek(AT)
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def series_of(files: Sequence[Path], notes: Notes) -> Iterator[ScanFile]:
    """The series of some files, in the order of their first ones.

    Args:
        files: of which each is DICOM.
        notes: is told what holds no slice.

    Raises:
        DistvaeError: pydicom is missing, a file is damaged, or slices do not make one volume.
    """
    pydicom = package("pydicom", str(files[0]))
    found: dict[tuple[Path, str], list[Slice]] = {}
    without = 0
    for file in files:
        with naming(file):
            head = pydicom.dcmread(file, stop_before_pixels=True)
            if "Rows" not in head:
                without += 1
                continue
            key = file.parent, str(head.get("SeriesInstanceUID", ""))
            one = Slice(file, _along(head), int(head.get("InstanceNumber") or 0))
            found.setdefault(key, []).append(one)
    if without:
        notes.append(f"skipped: {counted(without, 'DICOM files')} without pixels")
    folders = Counter(uid for _, uid in found if uid)
    if parted := sum(count > 1 for count in folders.values()):
        notes.append(f"{parted} series in several folders: a volume of each folder")
    together, seen = Counter(folder for folder, _ in found), Counter[Path]()
    for (folder, _), slices in found.items():
        seen[folder] += 1
        which = f", series {seen[folder]}" if together[folder] > 1 else ""
        name = f"{folder.name}{which} ({counted(len(slices), 'slices')})"
        slices.sort(key=lambda one: (one.place or 0.0, one.number, natural_order(str(one.path))))
        gap = _gap(slices, name)
        yield ScanFile(name, slices[0].path, partial(_read, slices, gap, name), series=True)


def _along(head: Any) -> float | None:
    """Where a slice lies along the normal of its series, in millimetres."""
    position, axes = head.get("ImagePositionPatient"), head.get("ImageOrientationPatient")
    if not position or not axes:
        return None
    normal = np.cross(np.array(axes[:3], float), np.array(axes[3:], float))
    return float(normal @ np.array(position, float))


def _gap(slices: Sequence[Slice], name: str) -> float | None:
    """Millimetres between slices; None where they do not say where they are.

    Raises:
        DistvaeError: two lie at one place, or one is missing between others.
    """
    places = [one.place for one in slices if one.place is not None]
    if len(places) < len(slices) or len(places) < 2:
        return None
    gaps = np.diff(places)
    usual = float(np.median(gaps))
    if gaps.min() < EVEN * usual or usual <= 0.0:
        number = int(gaps.argmin())
        one, other = slices[number].path.name, slices[number + 1].path.name
        raise DistvaeError(
            f"{name} has two slices at one place, {one} and {other}",
            "expected one volume: one slice at each place",
            "Move each moment, echo or direction of the series to a folder, or out of the data.",
        )
    if np.abs(gaps - usual).max() > EVEN * usual:
        raise DistvaeError(
            f"{name} has slices {gaps.min():.3g} to {gaps.max():.3g} mm apart",
            "expected even gaps: one may be missing",
            "Add what is missing, or resample it.",
        )
    return usual


def _read(slices: Sequence[Slice], gap: float | None, name: str) -> Scan:
    pydicom = package("pydicom", str(slices[0].path))
    planes, scales, sizes = list[NDArray[Any]](), set[tuple[float, float]](), set[Any]()
    for one in slices:
        with naming(one.path):
            file = pydicom.dcmread(one.path)
            if int(file.get("SamplesPerPixel", 1)) != 1:
                raise ValueError("its pixels are colours, and grey ones were expected")
            pixels = np.asarray(file.pixel_array)
            slope, inter = (
                float(default if (value := file.get(tag)) is None else value)
                for tag, default in (("RescaleSlope", 1.0), ("RescaleIntercept", 0.0))
            )
            scales.add((slope, inter))
            planes.append(rescaled(pixels, slope, inter))
            sizes.add((pixels.shape, *_spacing(file)))
    if len(sizes) > 1:
        told = [" x ".join(map(str, shape)) for shape, *_ in sizes]
        raise DistvaeError(
            f"slices of {name} differ in size or spacing: {', '.join(sorted(told))}",
            "expected those of one volume to be equal",
        )
    ((shape, down, across),) = sizes
    if len(shape) == 3 and len(planes) > 1:
        raise DistvaeError(
            f"{name} has {len(planes)} files of several slices each", "expected one such file"
        )
    values = planes[0] if len(shape) == 3 else np.stack(planes)
    between = file.get("SpacingBetweenSlices") or file.get("SliceThickness")
    return Scan(values, (gap or float(between or 1.0), down, across), None)


def _spacing(file: Any) -> tuple[float, float]:
    """Millimetres along H and W, 1 where a file does not say."""
    found = file.get("PixelSpacing") or file.get("ImagerPixelSpacing") or (1.0, 1.0)
    return float(found[0]), float(found[1])
