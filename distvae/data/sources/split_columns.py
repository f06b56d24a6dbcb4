"""A column of a table that says of each row which split it is in."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from distvae.config import DataConfig
from distvae.data.sources.attributes import asked_columns
from distvae.data.sources.raw import Notes
from distvae.data.sources.splits import roles
from distvae.text import some

COLUMNS = ("split", "subset", "partition", "fold", "usage", "set", "dataset", "phase")
NUMBERED = {0: "train", 1: "validation", 2: "test"}
"""What 0, 1 and 2 stand for in a column ``partition``, as CelebA has them."""
MOST = 64
"""A column has no more splits."""
Table = TypeVar("Table")


def split_by_column(
    tables: Mapping[str, Table],
    cells: Callable[[Table, str], list[Any]],
    part: Callable[[Table, str, list[int]], Table],
    config: DataConfig,
    notes: Notes,
) -> dict[str, Table]:
    """Tables by split; a single one that has a column of splits is divided by it.

    Args:
        tables: of pyarrow or of ``datasets``, by split.
        cells: the values of a column.
        part: a table without a column, with these rows only.
        config: which columns are asked for as images and labels, and which are no splits then.
        notes: is told what was recognized.
    """
    if len(tables) != 1:
        return dict(tables)
    (table,) = tables.values()
    names: list[str] = table.column_names  # type: ignore[attr-defined]
    taken = (config.image_column, *asked_columns(config.label_column, names))
    for wanted in COLUMNS:
        for column in names:
            if column.strip().casefold() != wanted or column in taken:
                continue
            rows = _rows(wanted, cells(table, column))
            if rows is not None:
                notes.append(_shown(column, rows, len(cells(table, column))))
                return {name: part(table, column, found) for name, found in rows.items()}
    return dict(tables)


def _rows(wanted: str, values: list[Any]) -> dict[str, list[int]] | None:
    """The rows of each split; None where the values are no names of splits."""
    if wanted == "partition" and set(values) - {None} == NUMBERED.keys():
        values = [None if value is None else NUMBERED[value] for value in values]
    rows: dict[str, list[int]] = {}
    for row, value in enumerate(values):
        if not isinstance(value, str | None):
            return None
        if value is not None and (name := value.strip()):
            rows.setdefault(name, []).append(row)
        if len(rows) > MOST:
            return None
    return rows if "train" in roles(rows).values() else None


def _shown(column: str, rows: Mapping[str, list[int]], count: int) -> str:
    parts = some(f"{name} {len(found):,}" for name, found in rows.items())
    note = f"splits are taken from column {column}: {parts}"
    lost = count - sum(map(len, rows.values()))
    return f"{note}; {lost:,} rows without one are left out" if lost else note
