"""Encoded images of whatever size and kind become one array of a split on disk."""

import dataclasses
import math
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from distvae.config import DataConfig
from distvae.data.identity import (
    ROWS,
    Progress,
    array_digest,
    digest_of,
    piece_digest,
    threads,
)
from distvae.data.pixels import (
    OtherwiseError,
    Reading,
    Seen,
    check_size,
    first_reading,
    read_picture,
)
from distvae.data.sources import RawSplit
from distvae.errors import DistvaeError

LOOKED_AT = 64
"""Training images that say how all are read, unless a later one shows that it is otherwise."""


class Written(NamedTuple):
    """Digests of the arrays by name, what is to be said of the images, and what they hold."""

    digests: dict[str, str]
    notes: list[str]
    seen: Seen


def write_arrays(
    folder: Path, splits: Mapping[str, RawSplit], rows: bool, config: DataConfig, progress: Progress
) -> Written:
    """Write images, labels and, where asked for, rows of splits into files in a folder.

    All images are read in one way, which the first of them suggest. One that shows that it must be
    another, as it is in colour or of more bits, lets all be read anew.

    Args:
        folder: an empty one.
        splits: by name, the training split first.
        rows: whether their rows are kept.
        config: what is known of the images beforehand.
        progress: called with the name of a split and the number of its images.

    Raises:
        DistvaeError: an image cannot be read, or is not as large as the others, or no room is left.
    """
    reading = _first_reading(next(iter(splits.values())), config)
    while True:
        try:
            digests, remarks = _write(folder, splits, rows, reading, progress)
        except OtherwiseError as otherwise:
            reading = otherwise.reading
        else:
            return Written(digests, [*reading.notes(), *remarks], reading.seen)


def _write(
    folder: Path, splits: Mapping[str, RawSplit], rows: bool, reading: Reading, progress: Progress
) -> tuple[dict[str, str], list[str]]:
    first = _First.of(next(iter(splits.values())), reading)
    _check_space(folder.parent, sum(len(split.rows) for split in splits.values()), first.shape)
    digests: dict[str, str] = {}
    remarks: Counter[str] = Counter()
    for name, split in splits.items():
        parts = {"labels": split.labels, "rows": split.rows if rows else None}
        for part, array in parts.items():
            if array is not None:
                np.save(folder / f"{name}-{part}.npy", array.astype(np.int64))
                digests[f"{name}-{part}"] = digest_of(array.astype(np.int64))
        with progress(name, len(split.rows)) as advance:
            path = folder / f"{name}-images.npy"
            digests[f"{name}-images"] = _decode(split, first, path, remarks, advance)
    return digests, [f"{count:,} images {remark}" for remark, count in sorted(remarks.items())]


def _first_reading(split: RawSplit, config: DataConfig) -> Reading:
    """How to read images, by some that lie evenly in the split."""
    places = np.unique(np.linspace(0, len(split.rows) - 1, LOOKED_AT).astype(np.int64))
    rows = split.rows[places]
    encoded = zip(rows.tolist(), split.fetch(rows), strict=True)
    images = ((split.where(row, image), image) for row, image in encoded)
    config = dataclasses.replace(config, white=None) if split.levelled else config
    return first_reading(split.decode, images, config)


@dataclass(frozen=True)
class _First:
    """The first image of the training split, which is as large as all others, and their reading."""

    where: str
    shape: tuple[int, ...]
    reading: Reading

    @classmethod
    def of(cls, split: RawSplit, reading: Reading) -> "_First":
        row, encoded = int(split.rows[0]), split.fetch(split.rows[:1])[0]
        where = split.where(row, encoded)
        pixels = read_picture(split.decode, encoded, where, reading).pixels
        return cls(where, pixels.shape, reading)


def _decode(
    split: RawSplit,
    first: _First,
    path: Path,
    remarks: Counter[str],
    advance: Callable[[int], None],
) -> str:
    """Write the pixels of a split, uint8 [N, C, H, W], one piece per thread at a time.

    Returns:
        Their digest.
    """
    shape = (len(split.rows), *first.shape)
    images = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
    _reserve(path)

    def fill(start: int) -> tuple[bytes, list[str]]:
        rows = split.rows[start : start + ROWS]
        said: list[str] = []
        for index, (row, encoded) in enumerate(zip(rows, split.fetch(rows), strict=True), start):
            where = split.where(row, encoded)
            pixels, found = read_picture(split.decode, encoded, where, first.reading)
            check_size(where, pixels.shape, first.where, first.shape)
            images[index] = pixels
            said += found
        return piece_digest(images[start : start + ROWS]), said

    def pieces() -> Iterator[bytes]:
        starts = range(0, len(split.rows), ROWS)
        pool = ThreadPoolExecutor(threads())
        try:
            for start, (piece, said) in zip(starts, pool.map(fill, starts), strict=True):
                remarks.update(said)
                advance(min(ROWS, len(split.rows) - start))
                yield piece
        finally:
            pool.shutdown(cancel_futures=True)

    digest = array_digest(images.dtype, images.shape, pieces())
    images.flush()
    return digest


def _reserve(path: Path) -> None:
    """Take a file's room on the disk now: a memory map that finds none later ends by a signal."""
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)


def _check_space(folder: Path, count: int, shape: tuple[int, ...]) -> None:
    """Refuse before decoding what would not fit: a full disk ends a memory map by a signal."""
    needed = count * (math.prod(shape) + 8)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise DistvaeError(
            f"{count} images of {' x '.join(map(str, shape))} need {needed / 1e9:.2f} GB in "
            f"{folder.parent}",
            f"{free / 1e9:.2f} GB are free",
            "Make room, choose another folder by --cache-dir, or take a smaller --image-size.",
        )
