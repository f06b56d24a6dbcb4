"""Pictures and volumes of any size become files: whole ones for training, crops of a fixed grid.

Legend: P pictures, M crops, C channels, S the sides of a picture: height and width, or depth before
these.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from distvae.data.identity import Progress, digest_of, threads
from distvae.data.npy import header, mapped
from distvae.data.pictures import Pictures, grid
from distvae.data.pixels import Picture, Reading, read_picture
from distvae.data.sources.raw import RawSplit
from distvae.data.views import longest
from distvae.data.writing import check_space, write_fields, write_numbers
from distvae.domains.images import images_field
from distvae.errors import DistvaeError
from distvae.fields import Field
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
    """``[P, S]``."""
    remarks: Counter[str]


@dataclass(frozen=True)
class Cutting:
    """What pictures or volumes are cut into."""

    field: Field
    """What is stored of a crop, with its type of numbers."""
    decoded: Callable[[RawSplit], Iterator[Picture]]
    """The whole ones of a split in their order."""
    fresh: bool
    """Whether training cuts anew in every epoch, of whole ones that are kept for it."""
    whole: str
    """What they are called."""
    part: str
    """What a crop is called."""

    @classmethod
    def of_pictures(cls, reading: Reading) -> "Cutting":
        """By a reading whose ``least`` is the side of a crop."""
        assert reading.least is not None
        field = images_field((reading.channels, reading.least, reading.least), reading.levels)
        fresh = not reading.config.streaming
        return cls(field, lambda split: _decoded(split, reading), fresh, "images", "crops")


def write_crops(
    folder: Path, splits: Mapping[str, RawSplit], rows: bool, cutting: Cutting, progress: Progress
) -> tuple[dict[str, str], list[str]]:
    """Write pictures, crops of them, labels and, where asked for, rows of splits.

    Args:
        folder: where to.
        splits: by name, the training split first.
        rows: whether their rows are kept.
        cutting: how they are cut.
        progress: called with the name of a split and the number of its pictures.

    Returns:
        The digest of each array by name, and what is to be said.

    Raises:
        OtherwiseError: a picture shows that all must be read otherwise.
        DistvaeError: one cannot be read, or is too long, or no room is left.
    """
    shape, digests, notes = cutting.field.shape, dict[str, str](), list[str]()
    for name, split in splits.items():
        path = folder / f"{name}-{PICTURES}.npy"
        with progress(name, len(split.rows)) as advance:
            whole = _write_whole(path, split, cutting, advance)
        pixels = mapped(path)
        pictures = Pictures.of(pixels, whole.sizes, shape, split.labels, split.attributes)
        cells = grid(whole.sizes, shape[1:])
        chosen = cells[evenly(len(cells), MOST_CROPS)]
        digests |= _write_grid(folder, name, split, pictures, chosen, rows, cutting)
        if name == TRAIN and cutting.fresh:
            known = {SIZES: whole.sizes, LABELS: split.labels, ATTRIBUTES: split.attributes}
            digests |= {path.stem: digest_of(pixels), **write_numbers(folder, name, known)}
        else:
            path.unlink()
        notes.append(_told(name, whole, cutting, len(cells), len(chosen)))
        notes += [
            f"{counted(count, cutting.whole)} {remark}"
            for remark, count in sorted(whole.remarks.items())
        ]
    return digests, notes


def opened(arrays: Mapping[str, NDArray[Any]], field: str) -> Pictures | None:
    """The training pictures of a store, where it has some.

    Args:
        arrays: of the store by name.
        field: what it keeps of a crop.
    """
    parts = {name: arrays.get(f"{TRAIN}-{name}") for name in (SIZES, LABELS, ATTRIBUTES)}
    sizes, labels, values = (None if part is None else np.array(part) for part in parts.values())
    if sizes is None:
        return None
    shape = arrays[f"{TRAIN}-{field}"].shape[1:]
    return Pictures.of(arrays[f"{TRAIN}-{PICTURES}"], sizes, shape, labels, values)


def _write_grid(
    folder: Path,
    name: str,
    split: RawSplit,
    pictures: Pictures,
    chosen: NDArray[np.int64],
    rows: bool,
    cutting: Cutting,
) -> dict[str, str]:
    """Write crops of a split, codes ``[M]``, and what is known of them."""
    owners, field = pictures.decode(chosen).pictures, cutting.field
    known = {
        part: None if array is None else array[owners] for part, array in split.known(rows).items()
    }
    check_space(folder, len(chosen), [field], cutting.part)
    digests = write_numbers(folder, name, known)

    def fill(part: slice, views: Mapping[str, NDArray[Any]]) -> Iterable[str]:
        pictures.fill(chosen[part], views[field.name])
        return ()

    written, _ = write_fields(folder, name, [field], len(chosen), fill)
    return digests | written


def _write_whole(
    path: Path, split: RawSplit, cutting: Cutting, advance: Callable[[int], None]
) -> Whole:
    """Write the pictures of a split one after the other."""
    sizes, size, remarks = [], 0, Counter[str]()
    kind = np.dtype(cutting.field.dtype).newbyteorder("<")
    with path.open("wb") as file:
        file.write(header(kind.str, (0, ROW)))
        for pixels, said in cutting.decoded(split):
            for part in _parts(pixels):
                file.write(np.ascontiguousarray(part, kind).data)
            sizes.append(pixels.shape[1:])
            size += pixels.size
            remarks.update(said)
            advance(1)
        file.write(bytes(-size % ROW * kind.itemsize))
        file.seek(0)
        file.write(header(kind.str, (-(-size // ROW), ROW)))
    return Whole(np.array(sizes, np.int64), remarks)


def _parts(pixels: Any) -> Iterator[NDArray[Any]]:
    """A picture as it is; a volume, of one channel, slice by slice."""
    if pixels.ndim == 3:
        yield pixels
    else:
        yield from (pixels[:, number] for number in range(pixels.shape[1]))


def _decoded(split: RawSplit, reading: Reading) -> Iterator[Picture]:
    """The pictures of a split in their order, decoded by threads."""

    def decoded(row: int, encoded: Any) -> Picture:
        where = split.where(row, encoded)
        picture = read_picture(split.decode, encoded, where, reading)
        check_length(where, picture.pixels.shape[1:], "make it smaller by --shorter-side")
        return picture

    pool, size = ThreadPoolExecutor(threads()), TOGETHER * threads()
    try:
        for start in range(0, len(split.rows), size):
            rows = split.rows[start : start + size]
            yield from pool.map(decoded, rows.tolist(), split.fetch(rows))
    finally:
        pool.shutdown(cancel_futures=True)


def check_length(where: str, sides: tuple[int, ...], otherwise: str) -> None:
    """Refuse what is too long for views to be taken of it.

    Args:
        where: it was read from.
        sides: its own.
        otherwise: what to do but to cut it into several.

    Raises:
        DistvaeError: a side is too long.
    """
    most = longest(len(sides))
    if max(sides) > most:
        raise DistvaeError(
            f"{where} has {max(sides):,} {_unit(sides)} on a side",
            f"at most {most:,} are seen with --augment crop",
            f"Cut it into several, or {otherwise}.",
        )


def _told(name: str, whole: Whole, cutting: Cutting, cells: int, kept: int) -> str:
    """What crops a split has."""
    areas, (_, *view) = whole.sizes.prod(1), cutting.field.shape
    low, high = (tuple(whole.sizes[index]) for index in (areas.argmin(), areas.argmax()))
    span = _sides(low) if low == high else f"{_sides(low)} to {_sides(high)}"
    pictures = f"{counted(len(whole.sizes), cutting.whole)} of {span} {_unit(view)}"
    part, side = cutting.part, _sides(view)
    if name == TRAIN and cutting.fresh:
        return f"training sees random {part} of {side} of {pictures}: {cells:,} fit"
    if name == TRAIN:
        return f"training sees a random crop of {side} of each image, once an epoch"
    of = "" if cells == kept else f", evenly of {cells:,}"
    return f"the {name} split is {kept:,} {part} of a fixed grid of {pictures}{of}"


def _sides(size: Sequence[int]) -> str:
    """Width and height, as people say it; of volumes depth, height and width, as arrays have it."""
    return " x ".join(map(str, size[::-1] if len(size) == 2 else size))


def _unit(sides: Sequence[int]) -> str:
    return "pixels" if len(sides) == 2 else "voxels"
