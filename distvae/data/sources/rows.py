"""Examples that are numbers: tables of text with a column for each, and arrays ``[N, *S]``.

Which of the domains of numbers they are is said by --domain, or found: the first one that may be
taken unasked and has as many axes.

Legend: N examples, F columns, S the axes of an example.
"""

import contextlib
import dataclasses
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from distvae.config import DataConfig
from distvae.data.sources.array_labels import ArraySplit, Values
from distvae.data.sources.arrays import read_arrays
from distvae.data.sources.labels import Numbers
from distvae.data.sources.local import find
from distvae.data.sources.numpy_files import read_numpy_splits
from distvae.data.sources.raw import Notes, RawData, RawSplit, domains_of_numbers
from distvae.data.sources.row_tables import NoRowsError, Rows, rows_of_tables
from distvae.data.sources.text import read_text_tables
from distvae.declarations import usual
from distvae.domains import DOMAINS, Domain
from distvae.errors import DistvaeError, NotImagesError, UndividedError
from distvae.text import some

if TYPE_CHECKING:
    import pyarrow as pa

MOST = 2**16
"""Columns; more are no table of numbers."""
FindRows = Callable[[DataConfig], Rows]
"""The rows of the domain that a configuration names; raises NoRowsError where there are none."""


def read_rows(find_rows: FindRows, config: DataConfig) -> RawData:
    """Both splits of rows of numbers, of the domain that is asked for.

    Raises:
        DistvaeError: it holds no such rows, cannot be read, or a number is missing.
    """
    assert config.domain is not None
    return _raw_data(find_rows(config), config, config.domain)


def recognized_rows(find_rows: FindRows, config: DataConfig, error: NotImagesError) -> RawData:
    """The same of data whose domain nobody said, where it holds numbers and nothing else.

    Args:
        find_rows: where they may be.
        config: with no domain.
        error: why it holds no images.

    Raises:
        DistvaeError: that it holds no images, where something else was asked for or it holds other
            things than numbers; or as :func:`read_rows`.
    """
    settings = (config.image_column, config.image_size, config.channels, config.white)
    if any(setting is not None for setting in settings) or config.streaming:
        raise error
    domain, rows = _first_fitting(find_rows, config, error)
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


def _first_fitting(
    find_rows: FindRows, config: DataConfig, error: NotImagesError
) -> tuple[str, Rows]:
    """The first domain that may be taken unasked and finds its rows there, and these.

    Raises:
        DistvaeError: ``error``, as there is none.
    """
    for domain in sorted({*domains_of_numbers()} & {*usual("domain")}):
        with contextlib.suppress(NoRowsError):
            return domain, find_rows(dataclasses.replace(config, domain=domain))
    raise error


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


def rows_in(path: Path, config: DataConfig) -> Rows:
    """The columns of numbers in a file or folder.

    Raises:
        NoRowsError: it has none.
    """
    found, axes = find(path), DOMAINS[config.domain or "vectors"].part.axes
    if found.kind == "text" and axes == 1:
        text = read_text_tables(path, found.files, config, found.notes)
        return rows_of_tables(text.splits, config, text.notes)
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
    return rows_of_arrays(arrays, names, config, found.notes)


def rows_of_arrays(
    splits: Mapping[str, ArraySplit], names: tuple[str, ...], config: DataConfig, notes: Notes
) -> Rows:
    """Arrays ``[N, *S]`` by split as rows.

    Args:
        splits: by name.
        names: of labels that are whole numbers, if known.
        config: with the domain.
        notes: is told what was recognized.

    Raises:
        NoRowsError: they are no rows of the domain.
    """
    axes = DOMAINS[config.domain or "vectors"].part.axes
    shape = _shape(splits, config.data, axes)
    columns = tuple(map(str, range(shape[0]))) if axes == 1 else ()
    return Rows(columns, splits, names, notes, ())


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
