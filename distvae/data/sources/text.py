"""Tables that are text: csv with any usual separator, tsv and one JSON object a line."""

import csv
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from distvae.config import DataConfig
from distvae.data.roots import Root
from distvae.data.sources.arrays import ArraySplit
from distvae.data.sources.columns import (
    IMAGE_COLUMNS,
    LABEL_COLUMNS,
    check_known,
    image_column,
)
from distvae.data.sources.labels import some
from distvae.data.sources.raw import Notes, Tables
from distvae.data.sources.refused import ending
from distvae.data.sources.splits import splits_of_files
from distvae.errors import DistvaeError

if TYPE_CHECKING:
    import pyarrow as pa

SEPARATED = (".csv", ".tsv", ".tab")
TEXT = (*SEPARATED, ".jsonl", ".ndjson")
SEPARATORS = ",;\t|"
BLOCK = 2**26
"""Bytes that are read at a time; no line may be longer."""
DEPTH = 64
"""Levels of lists and objects in a line, at most."""
PIXELS = 16
"""So many numbered columns are the pixels of an image."""


@dataclass(frozen=True, eq=False)
class TextTables:
    """Tables of text by split, as pyarrow has them."""

    splits: Mapping[str, "pa.Table"]
    notes: Notes

    def pixels(self, config: DataConfig) -> dict[str, ArraySplit] | None:
        """The arrays of tables that hold pixels; None of other tables."""
        return read_pixel_tables(self.splits, config, self.notes)

    def names_images(self, config: DataConfig) -> bool:
        """Whether the first table has a column with images, as far as its name and type tell."""
        tables = self._as_datasets()
        try:
            image_column(next(iter(tables.values())).features, config.image_column, "", [])
        except DistvaeError:
            return False
        return True

    def as_tables(self, root: Root, notes: Notes) -> Tables:
        """The same as tables of ``datasets``, of images in ``root``."""
        return Tables(self._as_datasets(), [*self.notes, *notes], root)

    def unused(self) -> Notes:
        """What is said where images lie beside, and the tables name none."""
        names = some(dict.fromkeys(name for t in self.splits.values() for name in t.column_names))
        return [f"no column of the tables names images: {names}; they are left out"]

    def _as_datasets(self) -> dict[str, Any]:
        import datasets

        return {
            name: datasets.Dataset(datasets.table.InMemoryTable(table))
            for name, table in self.splits.items()
        }


def read_text_tables(
    path: Path, files: Sequence[Path], config: DataConfig, notes: Notes
) -> TextTables:
    """The tables of text in a file or folder, by the split that their names say.

    Raises:
        DistvaeError: one cannot be read, or has no rows.
    """
    import pyarrow as pa

    root, splits = path if path.is_dir() else path.parent, {}
    for name, chosen in splits_of_files(path, files, config).items():
        tables = [_read_text(file, root, config, notes) for file in chosen]
        try:
            splits[name] = pa.concat_tables(tables, promote_options="permissive")
        except pa.ArrowException as error:
            raise DistvaeError(
                f"files of split {name} of {path} do not fit together", str(error).splitlines()[0]
            ) from error
        if not splits[name].num_rows:
            raise DistvaeError(f"split {name} of {path} has no rows", "expected at least one row")
    return TextTables(splits, notes)


def _read_text(path: Path, root: Path, config: DataConfig, notes: Notes) -> "pa.Table":
    """The table in a file; paths of images in it are turned to be relative to ``root``.

    Raises:
        DistvaeError: it cannot be read.
    """
    import pyarrow as pa
    from pyarrow import json

    try:
        if ending(path.name) in SEPARATED:
            table = _read_separated(path, notes)
        else:
            _check_depth(path)
            table = json.read_json(path, json.ReadOptions(block_size=BLOCK))
    except (OSError, pa.ArrowException, ValueError, csv.Error) as error:
        raise DistvaeError(
            f"{path} cannot be read as a table",
            str(error).splitlines()[0].rstrip(". "),
            "Expected UTF-8 text with as many values in each row as in the first.",
        ) from error
    above = path.parent.relative_to(root)
    usual = (config.image_column,) if config.image_column else IMAGE_COLUMNS
    for number, name in enumerate(table.column_names):
        if above.parts and name in usual and pa.types.is_string(table.schema.types[number]):
            moved = [value and str(above / value) for value in table[name].to_pylist()]
            table = table.set_column(number, name, pa.array(moved, pa.string()))
    return table


def _check_depth(path: Path) -> None:
    """Refuse what is nested so deeply that a parser's stack would not hold it.

    Raises:
        ValueError: it is.
    """
    depth = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            bare = line.strip()
            flat = bare[:1] + bare[-1:] == b"{}" and bare.count(b"{") + bare.count(b"[") < DEPTH
            if depth or not flat:
                for sign in re.findall(rb"[\[{\]}]", re.sub(rb'"(?:[^"\\]|\\.)*"', b"", bare)):
                    depth += 1 if sign in b"[{" else -1
                    if depth > DEPTH:
                        raise ValueError(f"line {number} is nested more than {DEPTH} deep")


def _read_separated(path: Path, notes: Notes) -> "pa.Table":
    import pyarrow as pa
    from pyarrow import csv as reader

    first = _first_line(path)
    separator = _separator(path, first)
    fields = next(csv.reader([first], delimiter=separator), [])
    names = _names_without_header(fields)
    if names:
        notes.append(f"{path.name} has no header: its columns are {some(names, 3)}")
    if separator != "," and ending(path.name) == ".csv":
        notes.append(f"{path.name} is separated by {separator!r}")
    if twice := [name for name, count in Counter(names or fields).items() if count > 1]:
        raise ValueError(f"two columns are called {twice[0]!r}, or the first line is no header")
    options = reader.ReadOptions(block_size=BLOCK, column_names=names or None)
    table = reader.read_csv(
        path,
        options,
        reader.ParseOptions(delimiter=separator, newlines_in_values=True),
        reader.ConvertOptions(strings_can_be_null=True),
    )
    for name, kind in zip(table.column_names, table.schema.types, strict=True):
        if pa.types.is_binary(kind):  # what pyarrow makes of text in another encoding
            raise UnicodeError(f"column {name} is not UTF-8")
    return table


def _first_line(path: Path) -> str:
    with path.open("rb") as file:
        return re.split(r"[\r\n]", file.readline(BLOCK).decode("utf-8-sig"))[0]


def _separator(path: Path, line: str) -> str:
    """The usual separator that there is most of in the first line, outside quotes."""
    if ending(path.name) != ".csv":
        return "\t"
    bare = re.sub(r'"[^"]*"', "", line)
    return max(SEPARATORS, key=bare.count)


def _names_without_header(fields: Sequence[str]) -> list[str]:
    """Names for the columns of a table of pixels that begins with its first image."""
    if len(fields) < PIXELS or not all(re.fullmatch(r"\s*-?[\d.]+(e-?\d+)?\s*", f) for f in fields):
        return []
    count = len(fields)
    if not _may_be_image(count - 1) and _may_be_image(count):
        return [f"pixel{number}" for number in range(count)]
    return ["label", *(f"pixel{number}" for number in range(count - 1))]


def _may_be_image(count: int) -> bool:
    return any(
        count % channels == 0 and math.isqrt(count // channels) ** 2 * channels == count
        for channels in (1, 3)
    )


def pixel_columns(table: "pa.Table") -> list[str]:
    """The columns that are the pixels of an image, in the order of their numbers, if there are any.

    They are called ``pixel0``, ``pixel1`` and so on, by any word, or ``1x1``, ``1x2``.
    """
    groups: dict[str, list[tuple[tuple[int, ...], str]]] = {}
    for name in table.column_names:
        if found := re.fullmatch(r"(\D*?)(\d{1,9})(?:x(\d{1,9}))?", name.strip()):
            stem, *numbers = found.groups()
            key = tuple(int(number) for number in numbers if number is not None)
            groups.setdefault(f"{stem} {len(key)}", []).append((key, name))
    largest = max(groups.values(), key=len, default=[])
    return [name for _, name in sorted(largest)] if len(largest) >= PIXELS else []


def read_pixel_tables(
    tables: Mapping[str, "pa.Table"], config: DataConfig, notes: Notes
) -> dict[str, ArraySplit] | None:
    """The arrays in tables of which each column is a pixel, or one holds all; None in others."""
    first = max(tables.values(), key=lambda table: table.num_columns)  # with labels, if one has
    columns, written = pixel_columns(first), _column_of_pixels(first)
    if not columns and written is None:
        return None
    label = _label_column(first, {*columns, written or ""}, config, notes)
    found = {}
    for name, table in tables.items():
        if missing := [
            column for column in (*columns, written) if column not in (None, *table.column_names)
        ]:
            raise DistvaeError(
                f"split {name} of {config.data} has no column {missing[0]}",
                f"its columns are {some(table.column_names)}",
                "Choose other splits by --split-train and --split-test.",
            )
        pixels = (
            np.column_stack([table[column].to_numpy() for column in columns])
            if columns
            else _parse(table[written].to_pylist(), written, config)
        )
        labels = table[label].to_pylist() if label in table.column_names else None
        as_array: NDArray[Any] | None = None
        if labels is not None:
            as_array = np.empty(len(labels), object)
            as_array[:] = labels
        found[name] = ArraySplit(pixels, as_array)
    return found


def _column_of_pixels(table: "pa.Table") -> str | None:
    """A column of which each cell is text like ``0 12 255`` with all pixels of an image."""
    for name in table.column_names:
        cell = table[name][0].as_py() if table.num_rows else None
        if isinstance(cell, str) and re.fullmatch(rf"\d+( \d+){{{PIXELS - 1},}}", cell.strip()):
            return str(name)
    return None


def _parse(cells: list[Any], column: str | None, config: DataConfig) -> NDArray[Any]:
    try:
        return np.array([cell.split() for cell in cells]).astype(np.int64)
    except (ValueError, AttributeError) as error:
        raise DistvaeError(
            f"column {column} of {config.data} does not hold as many pixels in each row",
            str(error),
            "Repair or remove the shorter ones.",
        ) from error


def _label_column(
    table: "pa.Table", pixels: set[str], config: DataConfig, notes: Notes
) -> str | None:
    """The column beside the pixels that holds labels."""
    others = [name for name in table.column_names if name not in pixels]
    if config.label_column is not None:
        check_known(
            dict.fromkeys(table.column_names), config.label_column, "--label-column", config.data
        )
        return config.label_column
    usual = [name for name in others if name.strip().casefold() in LABEL_COLUMNS]
    chosen = usual[0] if usual else (others[0] if len(others) == 1 else None)
    left = [name for name in others if name != chosen]
    notes.append(
        f"{len(pixels - {''})} columns are pixels, column {chosen} is the label"
        if chosen
        else "no column of labels is found beside the pixels"
    )
    if left:
        notes.append(f"left out: columns {some(left)} (--label-column)")
    return chosen
