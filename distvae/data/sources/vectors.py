"""Rows of numbers: tables of text with a column for each, and arrays ``[N, F]``.

Legend: N examples, F columns.
"""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

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
from distvae.errors import DistvaeError, NotImagesError

if TYPE_CHECKING:
    import pyarrow as pa

MOST = 2**16
"""Columns; more are no table of numbers."""
NUMBER = r"-?\d*[.,]?\d+([eE][+-]?\d+)?"
"""As the name of a column."""
IDENTIFIERS = ("id", "ids", "idx", "index", "key", "nr", "row", "row_id", "rowid", "uid")
"""Names of columns that tell rows apart, in any case."""


def read_vectors(path: Path, config: DataConfig) -> RawData:
    """Both splits of the rows of numbers in a file or folder.

    Raises:
        DistvaeError: it holds no such rows, cannot be read, or a number is missing.
    """
    return _raw_data(_rows(path, config), config)


def recognized_vectors(path: Path, config: DataConfig, error: NotImagesError) -> RawData:
    """The same of data that nobody called vectors, where it can be nothing else.

    Args:
        path: the file or folder.
        config: with no domain.
        error: why it holds no images.

    Raises:
        DistvaeError: that it holds no images, where something else was asked for or it holds other
            things than numbers; or as :func:`read_vectors`.
    """
    settings = (config.image_column, config.image_size, config.channels, config.white)
    if any(setting is not None for setting in settings) or config.streaming:
        raise error
    try:
        rows = _rows(path, dataclasses.replace(config, domain="vectors"))
    except NoRowsError:
        raise error from None
    if rows.left:
        raise DistvaeError(
            f"{config.data} holds no images, and not every column holds numbers",
            f"{some(rows.left)} do not, and {some(rows.columns)} do",
            "Take the numbers alone by --domain vectors, or name the images by --image-column.",
        ) from error
    rows.notes.append(
        "there are no images, and every column holds numbers: rows are taken as vectors "
        "(--domain vectors)"
    )
    return _raw_data(rows, config)


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


def _raw_data(rows: Rows, config: DataConfig) -> RawData:
    split = _raw_splits(rows.columns)
    raw = read_arrays(config, rows.splits, rows.label_names, rows.notes, split)
    return dataclasses.replace(raw, columns=rows.columns)


def _rows(path: Path, config: DataConfig) -> Rows:
    """The columns of numbers in a file or folder.

    Raises:
        NoRowsError: it has none.
    """
    found = find(path)
    if found.kind == "text":
        text = read_text_tables(path, found.files, config, found.notes)
        return _of_tables(text.splits, config, text.notes)
    if found.kind != "numpy":
        raise NoRowsError(
            f"{path} holds no rows of numbers",
            "expected a csv, tsv or jsonl of columns of numbers, or an npz or npy of [N, F]",
            "Write it as one of these.",
        )
    try:
        arrays, names = read_numpy_splits(found.files, config, found.notes)
    except NotImagesError as error:
        raise NoRowsError(error.thing, error.expected, error.next_step) from error
    columns = tuple(map(str, range(_width(arrays, config.data))))
    return Rows(columns, arrays, names, found.notes, ())


def _of_tables(tables: Mapping[str, "pa.Table"], config: DataConfig, notes: Notes) -> Rows:
    """The columns of numbers, and these and the labels by split."""
    first = max(tables.values(), key=lambda table: table.num_columns)  # with labels, if one has
    asked = asked_columns(config.label_column, first.column_names)
    label = _label_column(first, asked, config, notes)
    others = [name for name in first.column_names if name not in (*asked, label)]
    bare = [name for name in others if _says_nothing(first, name)]
    if bare:
        told = "empty, or another number for each row"
        notes.append(f"left out: columns {some(map(repr, bare))}, {told}")
    others = [name for name in others if name not in bare]
    columns = tuple(name for name in others if _is_real(first, name))
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
    return Rows(columns, splits, (), notes, left)


def _refuse_numbers_for_names(names: Sequence[str], data: str) -> None:
    """That the first line of a table is no row: names are perhaps whole numbers, but other ones."""
    counted = {str(number) for number in range(len(names) + 2)}
    if not counted >= {*names} and all(re.fullmatch(NUMBER, name.strip()) for name in names):
        raise DistvaeError(
            f"the first line of {data} holds numbers",
            f"expected the names of the columns, found {some(names)}",
            "Write a first line with names, such as a,b,c.",
        )


def _says_nothing(table: "pa.Table", name: str) -> bool:
    """Whether a column is empty, or tells the rows apart: numbered, or called so, all different."""
    import pyarrow as pa

    kind = table.schema.field(name).type
    if pa.types.is_null(kind):
        return True
    if not pa.types.is_integer(kind):
        return False
    if re.fullmatch(r"(Unnamed: \d+)?", name.strip()):  # as pandas writes it
        return bool(table[name].to_pylist() == list(range(table.num_rows)))
    return name.strip().lower() in IDENTIFIERS and len(table[name].unique()) == table.num_rows


def _label_column(
    table: "pa.Table", asked: Sequence[str], config: DataConfig, notes: Notes
) -> str | None:
    for name in asked:
        check_known(dict.fromkeys(table.column_names), name, "--label-column", config.data)
    if asked:
        return asked[0]
    usual = usual_columns(table.column_names, LABEL_COLUMNS) or _only_repeated_text(table)
    if not usual:
        notes.append("no column of labels is found (--label-column names one)")
        return None
    notes.append(f"column {usual[0]} is the label")
    return usual[0]


def _only_repeated_text(table: "pa.Table") -> list[str]:
    """The one column of text, where its words come again."""
    import pyarrow as pa

    texts = [
        name for name in table.column_names if pa.types.is_string(table.schema.field(name).type)
    ]
    repeated = len(texts) == 1 and len(table[texts[0]].unique()) <= table.num_rows / 2
    return texts if repeated else []


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
        raise NoRowsError(
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
        result = {}
        for name, array in arrays.items():
            values = _checked(np.asarray(array[:]), columns, f"split {name} of {config.data}")
            rows = np.arange(len(values))
            result[name] = RawSplit(
                name, rows, labels.get(name), values.__getitem__, lambda row, _: row
            )
        return result

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
    wrong = ~np.isfinite(values)
    if wrong.any():
        by_column = wrong.sum(0)
        counted = [f"{columns[at]} in {by_column[at]:,}" for at in np.flatnonzero(by_column)]
        row, column = map(int, np.argwhere(wrong)[0])
        found = float(array[row, column])
        what = "is missing" if np.isnan(found) else f"is {found:g}"
        raise DistvaeError(
            f"{where} lacks numbers in {int(wrong.any(1).sum()):,} of {len(values):,} rows",
            f"column {some(counted)}; the first, in row {row}, {what}, where a finite number of 32 "
            "bits was expected",
            "Fill them in, or remove these rows or columns.",
        )
    return values
