"""Whole volumes become patches of a split: those of a fixed grid.

Legend: N patches, C channels, S the sides of a volume, s those of a patch.
"""

import functools
import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distvae.data.crops import TRAIN, Cutting, check_length, write_crops
from distvae.data.identity import Progress
from distvae.data.pixels import Picture
from distvae.data.sources.raw import RawSplit
from distvae.data.writing import check_space, write_fields, write_numbers
from distvae.errors import DistvaeError
from distvae.fields import Field
from distvae.text import counted

KEPT = 4
"""Volumes that are kept open."""


def write_views(
    folder: Path,
    splits: Mapping[str, RawSplit],
    rows: bool,
    field: Field,
    what: str,
    cropping: bool,
    progress: Progress,
) -> tuple[dict[str, str], list[str]]:
    """Write patches, labels and, where asked for, rows of splits of whole volumes.

    Patches of the training split overlap by half, and those of the others do not; where training
    cuts anew in every epoch, both are of a grid beside the whole volumes.

    Args:
        folder: where to.
        splits: by name, the training split first.
        rows: whether their rows are kept.
        field: what is stored of a patch.
        what: the volumes are called.
        cropping: whether training cuts anew.
        progress: called with the name of a split and a number of examples.

    Returns:
        The digest of each array by name, and what is to be said.

    Raises:
        DistvaeError: no room is left, or patches are of one value all over.
    """
    if cropping:
        cutting = Cutting(field, _wholes, True, what, "patches")
        return write_crops(folder, splits, rows, cutting, progress)
    digests, notes = dict[str, str](), list[str]()
    for name, split in splits.items():
        side = max(field.shape[1:])
        with progress(f"{name}: places of patches", len(split.rows)) as advance:
            table, blank = [], 0
            for number, row in enumerate(split.rows.tolist()):
                whole = _fetched(split, row)
                for corner in corners(whole.shape[1:], side, side // 2 if name == TRAIN else side):
                    patch = _at(whole, corner, side)
                    if patch.min() == patch.max():
                        blank += 1
                    else:
                        table.append((number, *corner))
                advance(1)
        if blank:
            notes.append(f"left out: {counted(blank, 'patches')} of {name} of one value all over")
        if not table:
            raise DistvaeError(f"all patches of {name} are of one value", "expected some content")
        digests |= _write(folder, name, split, rows, field, np.array(table, np.int64), progress)
    return digests, notes


def _write(
    folder: Path,
    name: str,
    split: RawSplit,
    rows: bool,
    field: Field,
    table: NDArray[np.int64],
    progress: Progress,
) -> dict[str, str]:
    """Write the patches of a table of volumes and corners ``[N, 1 + S]``."""
    side, known = max(field.shape[1:]), split.known(rows)
    owned = {part: None if each is None else each[table[:, 0]] for part, each in known.items()}
    check_space(folder, len(table), [field], "patches")

    @functools.lru_cache(KEPT)
    def whole(number: int) -> Any:
        return _fetched(split, int(split.rows[number]))

    def fill(place: slice, parts: Mapping[str, NDArray[Any]]) -> Iterator[str]:
        for index, (number, *corner) in enumerate(table[place].tolist()):
            parts[field.name][index] = _at(whole(number), corner, side)
        yield from ()

    with progress(name, len(table)) as advance:
        written, _ = write_fields(folder, name, [field], len(table), fill, advance)
    return write_numbers(folder, name, owned) | written


def corners(shape: Sequence[int], patch: int, step: int) -> list[tuple[int, ...]]:
    """Where patches begin that cover a volume evenly, so many voxels apart at most."""
    axes = []
    for side in shape:
        last = side - patch
        count = 1 + -(-last // max(1, step))
        axes.append([round(at) for at in np.linspace(0, last, count).tolist()])
    return list(itertools.product(*axes))


def _fetched(split: RawSplit, row: int) -> Any:
    """The whole volume ``[C, *S]`` of a row, of which parts are read when they are asked for."""
    (whole,) = split.fetch(np.array([row]))
    return whole


def _at(whole: Any, corner: Sequence[int], side: int) -> NDArray[Any]:
    """A patch of a volume ``[C, *S]``: ``[C, *s]``."""
    return np.asarray(whole[(slice(None), *(slice(at, at + side) for at in corner))])


def _wholes(split: RawSplit) -> Iterator[Picture]:
    """Those of a split, one after the other."""
    for row in split.rows.tolist():
        whole = _fetched(split, row)
        check_length(split.where(row, whole), whole.shape[1:], "leave --augment out")
        yield Picture(whole, ())
