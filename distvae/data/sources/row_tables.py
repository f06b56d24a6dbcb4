"""Columns of numbers in tables, and which column holds labels."""

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from distvae.config import DataConfig
from distvae.data.sources.array_labels import ArraySplit
from distvae.data.sources.attributes import asked_columns, objects
from distvae.data.sources.raw import Notes
from distvae.data.sources.row_columns import is_real, label_column, numbers_of, says_nothing
from distvae.errors import DistvaeError
from distvae.text import some

if TYPE_CHECKING:
    import pyarrow as pa

NUMBER = r"-?\d*[.,]?\d+([eE][+-]?\d+)?"
"""As the name of a column."""


class NoRowsError(DistvaeError):
    """There are no rows of numbers."""


class Rows(NamedTuple):
    """Columns of numbers by split, and what was found on the way."""

    columns: tuple[str, ...]
    splits: Mapping[str, ArraySplit]
    label_names: tuple[str, ...]
    notes: Notes
    left: Sequence[str]
    """Columns that hold something else."""
    beside: Mapping[str, "pa.Table"] = {}
    """By split, the columns that are neither numbers of an example nor labels."""


def rows_of_tables(tables: Mapping[str, "pa.Table"], config: DataConfig, notes: Notes) -> Rows:
    """The columns of numbers, and these and the labels by split."""
    first = max(tables.values(), key=lambda table: table.num_columns)  # with labels, if one has
    asked = asked_columns(config.label_column, first.column_names)
    label = label_column(first, asked, config, notes)
    others = [name for name in first.column_names if name not in (*asked, label)]
    bare = [name for name in others if says_nothing(first, name)]
    if bare:
        told = "empty, or another number for each row"
        notes.append(f"left out: columns {some(map(repr, bare))}, {told}")
    others = [name for name in others if name not in bare]
    columns = tuple(name for name in others if is_real(first, name))
    left = [name for name in others if name not in columns]
    if left:
        notes.append(f"left out: columns {some(left)}, which hold no numbers")
    if not columns:
        raise NoRowsError(
            f"{config.data} has no column of numbers",
            f"its columns are {some(first.column_names, 20)}",
            "Write one number for each cell.",
        )
    _refuse_numbers_for_names(columns, config.data)
    splits, beside = {}, {}
    for name, table in tables.items():
        used = {*columns, *asked, label}
        beside[name] = table.select([each for each in table.column_names if each not in used])
        missing = [column for column in columns if column not in table.column_names]
        if missing or any(not is_real(table, column) for column in columns):
            wrong = missing or [column for column in columns if not is_real(table, column)]
            raise DistvaeError(
                f"split {name} of {config.data} has no column of numbers {wrong[0]}",
                f"its columns are {some(table.column_names)}",
                "Choose other splits by --split-train and --split-test.",
            )
        values = np.column_stack([numbers_of(table, column) for column in columns])
        cells = {
            column: objects(table[column].to_pylist())
            for column in dict.fromkeys((*asked, *([label] if label else [])))
            if column in table.column_names
        }
        given = {column: cells[column] for column in asked if column in cells}
        splits[name] = ArraySplit(values, cells.get(label or ""), given if asked else None)
    return Rows(columns, splits, (), notes, left, beside)


def _refuse_numbers_for_names(names: Sequence[str], data: str) -> None:
    """That the first line of a table is no row: names are perhaps whole numbers, but other ones."""
    counted = {str(number) for number in range(len(names) + 2)}
    if not counted >= {*names} and all(re.fullmatch(NUMBER, name.strip()) for name in names):
        raise DistvaeError(
            f"the first line of {data} holds numbers",
            f"expected the names of the columns, found {some(names)}",
            "Write a first line with names, such as a,b,c.",
        )
