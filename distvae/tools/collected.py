"""Columns of examples that come block by block, in memory that is taken once.

Small arrays that are kept one by one would lie between what blocks need for a while and give back,
so that the next block finds no room there: of a million pictures gigabytes.

Legend: N examples, B of a block.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


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
