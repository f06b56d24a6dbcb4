"""Examples that are numbers: tables of text with a column for each, and arrays ``[N, *S]``.

Which of the domains of numbers they are is said by --domain, or found: the first one that may be
taken unasked and has as many axes.

Legend: N examples, F columns, S the axes of an example.
"""

import contextlib
import dataclasses
import math
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
from distvae.data.sources.labels import Numbers
from distvae.data.sources.local import find
from distvae.data.sources.numpy_files import read_numpy_splits
from distvae.data.sources.raw import Notes, RawData, RawSplit, domains_of_numbers
from distvae.data.sources.row_columns import is_real, label_column, numbers_of, says_nothing
from distvae.data.sources.text import read_text_tables
from distvae.declarations import usual
from distvae.domains import DOMAINS, Domain
from distvae.errors import DistvaeError, NotImagesError, UndividedError
from distvae.text import some

if TYPE_CHECKING:
    import pyarrow as pa

MOST = 2**16
"""Columns; more are no table of numbers."""
NUMBER = r"-?\d*[.,]?\d+([eE][+-]?\d+)?"
"""As the name of a column."""


def read_rows(path: Path, config: DataConfig) -> RawData:
    """Both splits of the numbers in a file or folder, of the domain that is asked for.

    Raises:
        DistvaeError: it holds no such rows, cannot be read, or a number is missing.
    """
    assert config.domain is not None
    return _raw_data(_rows(path, config), config, config.domain)


def recognized_rows(path: Path, config: DataConfig, error: NotImagesError) -> RawData:
    """The same of data whose domain nobody said, where it holds numbers and nothing else.

    Args:
        path: the file or folder.
        config: with no domain.
        error: why it holds no images.

    Raises:
        DistvaeError: that it holds no images, where something else was asked for or it holds other
            things than numbers; or as :func:`read_rows`.
    """
    settings = (config.image_column, config.image_size, config.channels, config.white)
    if any(setting is not None for setting in settings) or config.streaming:
        raise error
    domain, rows = _first_fitting(path, config, error)
    if rows.left:
        raise DistvaeError(
            f"{config.data} holds no images, and not every column holds numbers",
            f"{some(rows.left)} do not, and {some(rows.columns)} do",
            f"Take the numbers alone by --domain {domain}, or name the images by --image-column.",
        ) from error
    rows.notes.append(
        f"there are no images, and every column holds numbers: rows are taken as {domain} "
        f"(--domain {domain})"
    )
    return _raw_data(rows, config, domain)


def _first_fitting(path: Path, config: DataConfig, error: NotImagesError) -> tuple[str, "Rows"]:
    """The first domain that may be taken unasked and finds its rows there, and these.

    Raises:
        DistvaeError: ``error``, as there is none.
    """
    for domain in sorted({*domains_of_numbers()} & {*usual("domain")}):
        with contextlib.suppress(NoRowsError):
            return domain, _rows(path, dataclasses.replace(config, domain=domain))
    raise error


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


def _raw_data(rows: Rows, config: DataConfig, domain: str) -> RawData:
    split = _raw_splits(DOMAINS[domain], rows.columns)

    def described(raw: RawData) -> RawData:
        train, test = (_with_others(each, rows.beside) for each in (raw.train, raw.test))
        return dataclasses.replace(raw, train=train, test=test, domain=domain, columns=rows.columns)

    try:
        return described(read_arrays(config, rows.splits, rows.label_names, rows.notes, split))
    except UndividedError as error:
        error.whole = described(error.whole)
        raise


def _with_others(split: RawSplit, tables: Mapping[str, "pa.Table"]) -> RawSplit:
    """A split that knows the other columns of its rows."""
    table = tables.get(split.name)
    if table is None or not table.num_columns:
        return split

    def cells(rows: NDArray[np.int64]) -> dict[str, list[Any]]:
        found: dict[str, list[Any]] = table.take(rows).to_pydict()
        return found

    return dataclasses.replace(split, beside=cells)


def _rows(path: Path, config: DataConfig) -> Rows:
    """The columns of numbers in a file or folder.

    Raises:
        NoRowsError: it has none.
    """
    found, axes = find(path), DOMAINS[config.domain or "vectors"].part.axes
    if found.kind == "text" and axes == 1:
        text = read_text_tables(path, found.files, config, found.notes)
        return _of_tables(text.splits, config, text.notes)
    if found.kind != "numpy":
        tables = "a csv, tsv or jsonl of columns of numbers, or " if axes == 1 else ""
        raise NoRowsError(
            f"{path} holds no {config.domain}",
            f"expected {tables}an npz or npy of {_sides(axes)}",
            "Write it as one of these.",
        )
    try:
        arrays, names = read_numpy_splits(found.files, config, found.notes, axes)
    except NotImagesError as error:
        raise NoRowsError(error.thing, error.expected, error.next_step) from error
    shape = _shape(arrays, config.data, axes)
    columns = tuple(map(str, range(shape[0]))) if axes == 1 else ()
    return Rows(columns, arrays, names, found.notes, ())


def _of_tables(tables: Mapping[str, "pa.Table"], config: DataConfig, notes: Notes) -> Rows:
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


def _shape(splits: Mapping[str, ArraySplit], data: str, axes: int) -> tuple[int, ...]:
    """S of arrays ``[N, *S]``.

    Raises:
        NoRowsError: they are of another or of several shapes.
    """
    shapes = {name: split.images.shape for name, split in splits.items()}
    inner, *others = {shape[1:] for shape in shapes.values()}
    if others or len(inner) != axes or not 0 < math.prod(inner) <= MOST:
        raise NoRowsError(
            f"{data} holds no rows of numbers",
            f"its arrays are {some(f'{name} {list(shape)}' for name, shape in shapes.items())}",
            f"Give all splits the shape {_sides(axes)}.",
        )
    return tuple(map(int, inner))


def _sides(axes: int) -> str:
    """The shape of an array of examples of so many axes, in letters."""
    letters = {1: "F", 2: "C, T"}
    return f"[N, {letters.get(axes) or ', '.join(f'S{axis + 1}' for axis in range(axes))}]"


def _raw_splits(domain: type[Domain], columns: tuple[str, ...]) -> Any:
    """What makes splits of a domain's examples of arrays ``[N, *S]``."""

    def raw_splits(
        config: DataConfig, arrays: Mapping[str, Values], labels: Numbers, notes: Notes
    ) -> dict[str, RawSplit]:
        result = {}
        for name, array in arrays.items():
            where = f"split {name} of {config.data}"
            stored = domain.read(np.asarray(array[:]), columns, where)
            rows = np.arange(len(stored))
            result[name] = RawSplit(
                name, rows, labels.get(name), stored.__getitem__, lambda row, _: row
            )
        return result

    return raw_splits
