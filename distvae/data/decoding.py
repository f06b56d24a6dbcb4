"""Encoded images of whatever size and kind become one array of a split on disk."""

import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from distvae.config import DataConfig
from distvae.data.crops import Cutting, write_crops
from distvae.data.identity import Progress
from distvae.data.pixels import (
    OtherwiseError,
    Reading,
    check_size,
    first_reading,
    read_picture,
)
from distvae.data.sources import RawSplit
from distvae.data.views import CROP
from distvae.data.writing import Written, check_space, write_fields, write_numbers
from distvae.domains.images import IMAGES, images_field
from distvae.domains.levels import LEVELS
from distvae.errors import DistvaeError
from distvae.fields import Field
from distvae.places import evenly
from distvae.text import counted

LOOKED_AT = 64
"""Training images that say how all are read, unless a later one shows that it is otherwise."""


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
    first = next(iter(splits.values()))
    if CROP in config.augment and config.image_size is None:
        raise DistvaeError(
            "--augment crop does not fit leaving --image-size out",
            "it is the side of a crop of images",
            "Take --image-size of the side of a crop.",
        )
    reading = _first_reading(first, config)
    while True:
        try:
            digests, remarks = _written(folder, splits, rows, reading, progress)
        except OtherwiseError as otherwise:
            reading = otherwise.reading
        else:
            notes = [*(reading.notes() if first.levels is None else ()), *remarks]
            facts = {"levels": reading.levels} if reading.levels != LEVELS else {}
            return Written(digests, notes, (IMAGES,), reading.seen, facts)


def _written(
    folder: Path, splits: Mapping[str, RawSplit], rows: bool, reading: Reading, progress: Progress
) -> tuple[dict[str, str], list[str]]:
    if reading.least is None:
        return _write(folder, splits, rows, reading, progress)
    return write_crops(folder, splits, rows, Cutting.of_pictures(reading), progress)


def _write(
    folder: Path, splits: Mapping[str, RawSplit], rows: bool, reading: Reading, progress: Progress
) -> tuple[dict[str, str], list[str]]:
    first = _First.of(next(iter(splits.values())), reading)
    fields = [first.field]
    check_space(folder, sum(len(split.rows) for split in splits.values()), fields, "images")
    digests: dict[str, str] = {}
    remarks: Counter[str] = Counter()
    for name, split in splits.items():
        digests |= write_numbers(folder, name, split.known(rows))
        count, decoder = len(split.rows), _Decoder(split, first)
        with progress(name, count) as advance:
            written, said = write_fields(folder, name, fields, count, decoder, advance)
        digests |= written
        remarks += said
    return digests, [
        f"{counted(count, 'images')} {remark}" for remark, count in sorted(remarks.items())
    ]


def _first_reading(split: RawSplit, config: DataConfig) -> Reading:
    """How to read images, by some that lie evenly in the split."""
    places = evenly(len(split.rows), LOOKED_AT)
    rows = split.rows[places]
    encoded = zip(rows.tolist(), split.fetch(rows), strict=True)
    images = ((split.where(row, image), image) for row, image in encoded)
    if split.levels is not None:
        config = dataclasses.replace(config, **settled(split.levels))
    return first_reading(split.decode, images, config)


def settled(levels: int) -> dict[str, Any]:
    """Settings by which levels are read as they are."""
    return {"white": None, "bits": 8} if levels == LEVELS else {"white": levels - 1, "bits": 16}


@dataclass(frozen=True)
class _First:
    """The first image of the training split, which is as large as all others, and their reading."""

    where: str
    field: Field
    reading: Reading

    @classmethod
    def of(cls, split: RawSplit, reading: Reading) -> "_First":
        row, encoded = int(split.rows[0]), split.fetch(split.rows[:1])[0]
        where = split.where(row, encoded)
        channels, height, width = read_picture(split.decode, encoded, where, reading).pixels.shape
        return cls(where, images_field((channels, height, width), reading.levels), reading)


@dataclass(frozen=True)
class _Decoder:
    """Writes the pixels of some images of a split ``[n, C, H, W]``."""

    split: RawSplit
    first: _First

    def __call__(self, rows: slice, parts: Mapping[str, NDArray[Any]]) -> Iterator[str]:
        split, first, chosen = self.split, self.first, self.split.rows[rows]
        for index, (row, encoded) in enumerate(zip(chosen, split.fetch(chosen), strict=True)):
            where = split.where(row, encoded)
            pixels, remarks = read_picture(split.decode, encoded, where, first.reading)
            check_size(where, pixels.shape, first.where, first.field.shape)
            parts[IMAGES][index] = pixels
            yield from remarks
