"""Columns of examples that come block by block, in memory that is taken once.

A command of many examples keeps them in files as it goes; one that was killed goes on after them.

Small arrays that are kept one by one would lie between what blocks need for a while and give back,
so that the next block finds no room there: of a million pictures gigabytes.

Legend: N examples, B of a block.
"""

import functools
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distvae.tools.parts import Parts
from distvae.tools.reading import Examples

Blocks = Callable[[int], Iterator[tuple[int, Mapping[str, NDArray[Any]]]]]
"""From the number of an example on: the number after a block, and columns ``[B]`` by name."""


class Collected:
    """Columns, filled from their beginning.

    Args:
        count: N at most.
    """

    def __init__(self, count: int) -> None:
        self._count, self._done = count, 0
        self._columns: dict[str, NDArray[Any]] = {}

    def add(self, block: Mapping[str, NDArray[Any]]) -> None:
        """Take in values ``[B]`` by name; every block has the same names."""
        size = 0
        for name, values in block.items():
            if name not in self._columns:
                assert not self._done, f"{name} came later than others"
                self._columns[name] = np.empty(self._count, values.dtype)
            size = len(values)
            self._columns[name][self._done : self._done + size] = values
        self._done += size

    def __len__(self) -> int:
        return self._done

    def column(self, name: str) -> NDArray[Any]:
        """What came so far ``[N]``; nothing of a name that never came."""
        found = self._columns.get(name)
        return np.empty(0) if found is None else found[: self._done]

    @property
    def names(self) -> list[str]:
        """Of the columns."""
        return [*self._columns]


def collected(examples: Examples, blocks: Blocks, parts: Parts | None, part_rows: int) -> Collected:
    """The columns of all examples that can be read.

    Args:
        examples: which.
        blocks: computes them.
        parts: where they are kept on the way, and where those of a command that was killed are
            found; None keeps nothing.
        part_rows: of a part.

    Raises:
        DistvaeError: no example could be read.
    """
    kept = Collected(len(examples))
    if parts is None:
        for _, block in blocks(0):
            kept.add(block)
    else:
        parts.take_up(examples, len(examples))
        for path in parts.paths:
            with np.load(path) as columns:
                kept.add(columns)
        with parts.telling_how_to_go_on():
            written = len(kept)
            for stop, block in blocks(parts.next):
                kept.add(block)
                if stop - parts.next >= part_rows:
                    columns = {name: kept.column(name)[written:] for name in kept.names}
                    parts.write(functools.partial(_save, columns), stop, examples.lost)
                    written = len(kept)
    examples.refuse_none()
    return kept


def _save(columns: Mapping[str, NDArray[Any]], path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, allow_pickle=False, **columns)
