"""Pictures of any size become files: whole ones for training, and crops of a fixed grid.

Legend: P pictures, M crops, C channels, H and W the sides of a picture.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from distvae.data.identity import Progress, digest_of, threads
from distvae.data.npy import header, mapped
from distvae.data.pictures import Pictures, grid
from distvae.data.pixels import Picture, Reading, read_picture
from distvae.data.sources.raw import RawSplit
from distvae.data.views import LONGEST, decode
from distvae.data.writing import check_space, write_fields, write_numbers
from distvae.domains.images import IMAGES, images_field
from distvae.domains.levels import kind_of_levels
from distvae.errors import DistvaeError
from distvae.places import evenly
from distvae.text import counted

TRAIN = "train"
PICTURES, SIZES, LABELS, ATTRIBUTES = "pictures", "sizes", "picture_labels", "picture_attributes"
"""Arrays of the training pictures, after the name of the split."""
MOST_CROPS = 10_000
"""Of the grid of a split that are kept, evenly."""
ROW = 2**16
"""Numbers of a row of the file of pictures, which its last one is filled up to."""
TOGETHER = 4
"""Pictures for each thread that are decoded before they are written."""


class Whole(NamedTuple):
    """The pictures of a split in a file."""

    sizes: NDArray[np.int64]
    """``[P, 2]``."""
    channels: int
    remarks: Counter[str]


def write_crops(
    folder: Path, splits: Mapping[str, RawSplit], rows: bool, reading: Reading, progress: Progress
) -> tuple[dict[str, str], list[str]]:
    """Write pictures, crops of them, labels and, where asked for, rows of splits.

    Args:
        folder: where to.
        splits: by name, the training split first.
        rows: whether their rows are kept.
        reading: how pictures become pixels; its ``least`` is the side of a crop.
        progress: called with the name of a split and the number of its pictures.

    Returns:
        The digest of each array by name, and what is to be said.

    Raises:
        OtherwiseError: a picture shows that all must be read otherwise.
        DistvaeError: one cannot be read, or is too long, or no room is left.
    """
    assert reading.least is not None
    side, digests, notes = reading.least, dict[str, str](), list[str]()
    for name, split in splits.items():
        path = folder / f"{name}-{PICTURES}.npy"
        with progress(name, len(split.rows)) as advance:
            whole = _write_whole(path, split, reading, advance)
        pixels = mapped(path)
        shape = (whole.channels, side, side)
        pictures = Pictures.of(pixels, whole.sizes, shape, split.labels, split.attributes)
        cells = grid(whole.sizes, shape[1:])
        chosen = cells[evenly(len(cells), MOST_CROPS)]
        digests |= _write_grid(folder, name, split, pictures, chosen, rows, reading.levels)
        if name == TRAIN and not reading.config.streaming:
            known = {SIZES: whole.sizes, LABELS: split.labels, ATTRIBUTES: split.attributes}
            digests |= {path.stem: digest_of(pixels), **write_numbers(folder, name, known)}
        else:
            path.unlink()
        notes.append(_told(name, whole, side, len(cells), len(chosen), reading.config.streaming))
        notes += [
            f"{counted(count, 'images')} {remark}"
            for remark, count in sorted(whole.remarks.items())
        ]
    return digests, notes


def opened(arrays: Mapping[str, NDArray[Any]]) -> Pictures | None:
    """The training pictures of a store, where it has some."""
    parts = {name: arrays.get(f"{TRAIN}-{name}") for name in (SIZES, LABELS, ATTRIBUTES)}
    sizes, labels, values = (None if part is None else np.array(part) for part in parts.values())
    if sizes is None:
        return None
    shape = arrays[f"{TRAIN}-{IMAGES}"].shape[1:]
    pixels = arrays[f"{TRAIN}-{PICTURES}"]
    return Pictures.of(pixels, sizes, (shape[0], *shape[1:]), labels, values)


def _write_grid(
    folder: Path,
    name: str,
    split: RawSplit,
    pictures: Pictures,
    chosen: NDArray[np.int64],
    rows: bool,
    levels: int,
) -> dict[str, str]:
    """Write crops of a split, codes ``[M]``, and what is known of them."""
    owners, field = decode(chosen).pictures, images_field(pictures.view, levels)
    known = {
        part: None if array is None else array[owners] for part, array in split.known(rows).items()
    }
    check_space(folder, len(chosen), [field], "crops")
    digests = write_numbers(folder, name, known)

    def fill(part: slice, views: Mapping[str, NDArray[Any]]) -> Iterable[str]:
        pictures.fill(chosen[part], views[IMAGES])
        return ()

    written, _ = write_fields(folder, name, [field], len(chosen), fill)
    return digests | written


def _write_whole(
    path: Path, split: RawSplit, reading: Reading, advance: Callable[[int], None]
) -> Whole:
    """Write the pictures of a split one after the other."""
    sizes, size, remarks = [], 0, Counter[str]()
    kind = np.dtype(kind_of_levels(reading.levels)).newbyteorder("<")
    with path.open("wb") as file:
        file.write(header(kind.str, (0, ROW)))
        for pixels, said in _decoded(split, reading):
            file.write(np.ascontiguousarray(pixels, kind).data)
            sizes.append(pixels.shape[1:])
            size += pixels.size
            remarks.update(said)
            advance(1)
        file.write(bytes(-size % ROW * kind.itemsize))
        file.seek(0)
        file.write(header(kind.str, (-(-size // ROW), ROW)))
    return Whole(np.array(sizes, np.int64), reading.channels, remarks)


def _decoded(split: RawSplit, reading: Reading) -> Iterator[Picture]:
    """The pictures of a split in their order, decoded by threads."""

    def decoded(row: int, encoded: Any) -> Picture:
        where = split.where(row, encoded)
        picture = read_picture(split.decode, encoded, where, reading)
        longest = max(picture.pixels.shape)
        if longest > LONGEST:
            raise DistvaeError(
                f"{where} has {longest:,} pixels on a side",
                f"at most {LONGEST:,} are seen with --augment crop",
                "Cut it into several, or make it smaller by --shorter-side.",
            )
        return picture

    pool, size = ThreadPoolExecutor(threads()), TOGETHER * threads()
    try:
        for start in range(0, len(split.rows), size):
            rows = split.rows[start : start + size]
            yield from pool.map(decoded, rows.tolist(), split.fetch(rows))
    finally:
        pool.shutdown(cancel_futures=True)


def _told(name: str, whole: Whole, side: int, cells: int, kept: int, sample: bool) -> str:
    """What crops a split has."""
    areas = whole.sizes.prod(1)
    (low, high) = (tuple(whole.sizes[index]) for index in (areas.argmin(), areas.argmax()))
    span = _sides(low) if low == high else f"{_sides(low)} to {_sides(high)}"
    pictures = f"{counted(len(whole.sizes), 'images')} of {span} pixels"
    if name == TRAIN and not sample:
        return f"training sees random crops of {side} x {side} of {pictures}: {cells:,} fit"
    if name == TRAIN:
        return f"training sees a random crop of {side} x {side} of each image, once an epoch"
    of = "" if cells == kept else f", evenly of {cells:,}"
    return f"the {name} split is {kept:,} crops of a fixed grid of {pictures}{of}"


def _sides(size: tuple[int, ...]) -> str:
    height, width = size
    return f"{width} x {height}"
