"""Rows of numbers: tables of text with a column for each, and arrays ``[N, F]``.

Legend: N examples, F columns.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from distvae.config import DataConfig
from distvae.data.sources.array_labels import ArraySplit, Values
from distvae.data.sources.arrays import read_arrays
from distvae.data.sources.attributes import asked_columns, objects
from distvae.data.sources.columns import LABEL_COLUMNS, check_known, usual_columns
from distvae.data.sources.labels import Numbers, some
from distvae.data.sources.local import find
from distvae.data.sources.numpy_files import read_numpy_splits
from distvae.data.sources.raw import Notes, RawData, RawSplit
from distvae.data.sources.text import read_text_tables
from distvae.errors import DistvaeError

if TYPE_CHECKING:
    import pyarrow as pa

MOST = 2**16
"""Columns; more are no table of numbers."""


def read_vectors(path: Path, config: DataConfig) -> RawData:
    """Both splits of the rows of numbers in a file or folder.

    Raises:
        DistvaeError: it holds no such rows, cannot be read, or a number is missing.
    """
    found = find(path)
    notes = found.notes
    if found.kind == "text":
        text = read_text_tables(path, found.files, config, notes)
        columns, splits = _of_tables(text.splits, config, text.notes)
        raw = read_arrays(config, splits, (), text.notes, _raw_splits(columns))
        return dataclasses.replace(raw, columns=columns)
    if found.kind != "numpy":
        raise DistvaeError(
            f"{path} holds no rows of numbers",
            "expected a csv, tsv or jsonl of columns of numbers, or an npz or npy of [N, F]",
            "Write it as one of these.",
        )
    arrays, names = read_numpy_splits(found.files, config, notes)
    columns = tuple(map(str, range(_width(arrays, config.data))))
    raw = read_arrays(config, arrays, names, notes, _raw_splits(columns))
    return dataclasses.replace(raw, columns=columns)


def _of_tables(
    tables: Mapping[str, "pa.Table"], config: DataConfig, notes: Notes
) -> tuple[tuple[str, ...], dict[str, ArraySplit]]:
    """The names of the columns of numbers, and these and the labels by split."""
    first = max(tables.values(), key=lambda table: table.num_columns)  # with labels, if one has
    asked = asked_columns(config.label_column, first.column_names)
    label = _label_column(first, asked, config, notes)
    taken = (*asked, label)
    columns = tuple(
        name for name in first.column_names if name not in taken and _is_real(first, name)
    )
    left = [name for name in first.column_names if name not in (*columns, *taken)]
    if left:
        notes.append(f"left out: columns {some(left)}, which hold no numbers")
    if not columns:
        raise DistvaeError(
            f"{config.data} has no column of numbers",
            f"its columns are {some(first.column_names, 20)}",
            "Write one number for each cell.",
        )
    splits = {}
    for name, table in tables.items():
        missing = [column for column in columns if column not in table.column_names]
        if missing or any(not _is_real(table, column) for column in columns):
            wrong = missing or [column for column in columns if not _is_real(table, column)]
            raise DistvaeError(
                f"split {name} of {config.data} has no column of numbers {wrong[0]}",
                f"its columns are {some(table.column_names)}",
                "Choose other splits by --split-train and --split-test.",
            )
        values = np.column_stack([_numbers(table, column) for column in columns])
        cells = {
            column: objects(table[column].to_pylist())
            for column in dict.fromkeys((*asked, *([label] if label else [])))
            if column in table.column_names
        }
        given = {column: cells[column] for column in asked if column in cells}
        splits[name] = ArraySplit(values, cells.get(label or ""), given if asked else None)
    return columns, splits


def _label_column(
    table: "pa.Table", asked: Sequence[str], config: DataConfig, notes: Notes
) -> str | None:
    for name in asked:
        check_known(dict.fromkeys(table.column_names), name, "--label-column", config.data)
    if asked:
        return asked[0]
    usual = usual_columns(table.column_names, LABEL_COLUMNS)
    if not usual:
        notes.append("no column of labels is found (--label-column names one)")
        return None
    notes.append(f"column {usual[0]} is the label")
    return usual[0]


def _is_real(table: "pa.Table", name: str) -> bool:
    import pyarrow as pa

    kind = table.schema.field(name).type
    return bool(
        pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
    )


def _numbers(table: "pa.Table", name: str) -> NDArray[np.float64]:
    """A column, NaN where nothing stands."""
    import pyarrow as pa

    numbers: NDArray[np.float64] = table[name].cast(pa.float64()).to_numpy()
    return numbers


def _width(splits: Mapping[str, ArraySplit], data: str) -> int:
    """F of arrays ``[N, F]``.

    Raises:
        DistvaeError: they are of another or of several shapes.
    """
    shapes = {name: split.images.shape for name, split in splits.items()}
    widths = {shape[1:] for shape in shapes.values()}
    if len(widths) != 1 or len(next(iter(widths))) != 1 or not 0 < next(iter(widths))[0] <= MOST:
        raise DistvaeError(
            f"{data} holds no rows of numbers",
            f"its arrays are {some(f'{name} {list(shape)}' for name, shape in shapes.items())}",
            "Give all splits the shape [N, F].",
        )
    return int(next(iter(widths))[0])


def _raw_splits(columns: tuple[str, ...]) -> Any:
    """What makes splits of examples of arrays ``[N, F]``."""

    def raw_splits(
        config: DataConfig, arrays: Mapping[str, Values], labels: Numbers, notes: Notes
    ) -> dict[str, RawSplit]:
        found = {}
        for name, array in arrays.items():
            values = _checked(np.asarray(array[:]), columns, f"split {name} of {config.data}")
            rows = np.arange(len(values))
            found[name] = RawSplit(
                name, rows, labels.get(name), values.__getitem__, lambda row, _: row
            )
        return found

    return raw_splits


def _checked(array: NDArray[Any], columns: tuple[str, ...], where: str) -> NDArray[np.float32]:
    """Finite numbers, float32 ``[N, F]``.

    Raises:
        DistvaeError: one is missing, infinite, or no number.
    """
    if array.dtype.kind not in "biuf":
        raise DistvaeError(f"{where} holds {array.dtype}", "expected numbers")
    with np.errstate(over="ignore"):
        values = array.astype(np.float32)
    wrong = np.argwhere(~np.isfinite(values))
    if len(wrong):
        row, column = wrong[0].tolist()
        found = float(array[row, column])
        what = "is missing" if np.isnan(found) else f"is {found:g}"
        raise DistvaeError(
            f"column {columns[column]} in row {row} of {where} {what}",
            "expected a finite number of 32 bits in each cell",
            f"Fill it in or remove the row; {len(wrong):,} cells are like it.",
        )
    return values
