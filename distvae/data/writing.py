"""Fields of a split become files, one memory map each, whatever their kind of numbers.

Legend: N examples, S the axes of an example.
"""

import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from distvae.data.identity import ROWS, array_digest, digest_of, piece_digest, threads
from distvae.data.seen import NOTHING, Seen
from distvae.errors import DistvaeError
from distvae.fields import Field

Fill = Callable[[slice, Mapping[str, NDArray[Any]]], Iterable[str]]
"""Writes the examples of some rows into their part of each field by name, ``[n, *S]``; gives what
is to be said of them, such as that one is transparent."""


class Written(NamedTuple):
    """What was written of all splits."""

    digests: dict[str, str]
    """Of the arrays by name."""
    notes: list[str]
    """What is to be said of the examples."""
    fields: tuple[str, ...]
    """What is stored of an example, by name."""
    seen: Seen = NOTHING
    """What images hold."""
    facts: Mapping[str, Any] = {}
    """What a domain is told of the examples besides, by the names of its fields."""


def write_fields(
    folder: Path,
    split: str,
    fields: Sequence[Field],
    count: int,
    fill: Fill,
    advance: Callable[[int], None] = lambda count: None,
) -> tuple[dict[str, str], Counter[str]]:
    """Write the fields of a split, one piece of each per thread at a time.

    Args:
        folder: where to.
        split: its name.
        fields: what is stored of an example.
        count: the number of examples, N.
        fill: called by several threads with rows that do not overlap.
        advance: told of examples that are done.

    Returns:
        The digest of each array by name, and how often each thing was said.
    """
    files = {field.name: folder / f"{split}-{field.name}.npy" for field in fields}
    maps = {field.name: _new_map(files[field.name], count, field) for field in fields}
    pieces: dict[str, list[bytes]] = {name: [] for name in maps}
    remarks: Counter[str] = Counter()

    def write(start: int) -> tuple[dict[str, bytes], Iterable[str]]:
        rows = slice(start, min(start + ROWS, count))
        parts = {name: array[rows] for name, array in maps.items()}
        said = list(fill(rows, parts))
        return {name: piece_digest(part) for name, part in parts.items()}, said

    for found, said in _in_order(write, range(0, count, ROWS)):
        for name, piece in found.items():
            pieces[name].append(piece)
        remarks.update(said)
        advance(min(ROWS, count - ROWS * (len(pieces[fields[0].name]) - 1)))
    digests = {}
    for name, array in maps.items():
        array.flush()
        digests[files[name].stem] = array_digest(array.dtype, array.shape, pieces[name])
    return digests, remarks


def write_numbers(
    folder: Path, split: str, arrays: Mapping[str, NDArray[Any] | None]
) -> dict[str, str]:
    """Write what is known of the examples besides, int64 or float32 ``[N, ...]`` by name.

    None is left out.

    Returns:
        The digest of each.
    """
    digests = {}
    for name, array in arrays.items():
        if array is not None:
            kind = np.float32 if array.dtype.kind == "f" else np.int64
            numbers = np.ascontiguousarray(array, kind)
            np.save(folder / f"{split}-{name}.npy", numbers)
            digests[f"{split}-{name}"] = digest_of(numbers)
    return digests


def check_space(folder: Path, count: int, fields: Sequence[Field], what: str) -> None:
    """Refuse before writing what would not fit: a full disk ends a memory map by a signal.

    Args:
        folder: the store's.
        count: of examples, over all splits.
        fields: what is stored of each.
        what: the examples are, in the plural.

    Raises:
        DistvaeError: there is not room enough.
    """
    needed = count * (sum(field.bytes for field in fields) + 8)
    free = shutil.disk_usage(folder.parent).free
    if needed > free:
        shapes = " and ".join(" x ".join(map(str, field.shape)) for field in fields)
        raise DistvaeError(
            f"{count} {what} of {shapes} need {needed / 1e6:,.1f} MB in {folder.parent.parent}",
            f"{free / 1e6:,.1f} MB are free",
            "Make room, choose another folder by --cache-dir, or take a smaller --image-size.",
        )


def _new_map(path: Path, count: int, field: Field) -> Any:
    """An array on disk, ``[N, *S]``, with its room taken."""
    shape = (count, *field.shape)
    array = np.lib.format.open_memmap(path, mode="w+", dtype=field.dtype, shape=shape)
    if hasattr(os, "posix_fallocate"):  # a memory map that finds no room later ends by a signal
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return array


def _in_order(
    work: Callable[[int], tuple[dict[str, bytes], Iterable[str]]], starts: Iterable[int]
) -> Iterator[tuple[dict[str, bytes], Iterable[str]]]:
    """What threads make of each, in their order; what was not begun at a failure is left."""
    pool = ThreadPoolExecutor(threads())
    try:
        yield from pool.map(work, starts)
    finally:
        pool.shutdown(cancel_futures=True)
