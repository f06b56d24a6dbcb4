"""Columns of tables that hold lists of numbers, one image each."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distvae.config import DataConfig
from distvae.errors import DistvaeError


@dataclass(frozen=True, eq=False)
class ListColumn:
    """A column of lists of numbers as one array ``[N, ...]`` that is read where it is asked for."""

    table: Any
    column: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    where: str

    @classmethod
    def of(cls, table: Any, column: str, config: DataConfig) -> "ListColumn":
        """The column of a table; its first row says which shape all have."""
        table = table.select_columns([column]).with_format("arrow")
        where = f"column {column} of {config.data}"
        values, shape = _nested(table[:1][column]) if len(table) else (np.empty(0), ())
        return cls(table, column, (len(table), *shape), values.dtype, where)

    def __getitem__(self, rows: Any) -> NDArray[Any]:
        """The values of these rows, an array or a slice.

        Raises:
            DistvaeError: they are not all as large as the first.
        """
        chosen = rows if isinstance(rows, slice) else rows.tolist()
        cells = self.table[chosen][self.column]
        count, expected = len(cells), math.prod(self.shape[1:])
        values, shape = _nested(cells)
        if shape != self.shape[1:] or values.size != count * expected:
            raise DistvaeError(
                f"{self.where} holds arrays of different shapes",
                f"the first is {' x '.join(map(str, self.shape[1:]))}, others are not, or missing",
                "Bring all to one size, and remove rows without an image.",
            )
        return values.reshape(count, *shape)


def _nested(cells: Any) -> tuple[NDArray[Any], tuple[int, ...]]:
    """All numbers of nested lists in order, and the shape of the first one.

    Lists of other lengths are found by how many numbers there are, or by a length that differs.
    """
    import pyarrow as pa

    cells = cells.combine_chunks()
    cells = cells.storage if isinstance(cells, pa.ExtensionArray) else cells
    shape: list[int] = []
    while pa.types.is_nested(cells.type):
        lengths = cells.value_lengths().unique().to_pylist()
        shape.append(-1 if len(lengths) != 1 or lengths[0] is None else lengths[0])
        cells = cells.flatten()
    return cells.to_numpy(zero_copy_only=False), tuple(shape)
