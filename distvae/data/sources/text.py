"""Tables that are text: csv with any usual separator, tsv and one JSON object a line."""

import csv
import re
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distvae.config import DataConfig
from distvae.data.encoded import pictures
from distvae.data.roots import Root
from distvae.data.sources.array_labels import ArraySplit
from distvae.data.sources.beside import with_images
from distvae.data.sources.columns import image_column
from distvae.data.sources.pixel_tables import (
    NAMELESS,
    is_nameless,
    name_columns,
    read_pixel_tables,
)
from distvae.data.sources.raw import Notes, Tables, domains_of_numbers
from distvae.data.sources.refused import ending
from distvae.data.sources.split_columns import split_by_column
from distvae.data.sources.splits import role_of, roles, splits_of_files
from distvae.errors import DistvaeError
from distvae.text import some

if TYPE_CHECKING:
    import pyarrow as pa

SEPARATED = (".csv", ".tsv", ".tab")
TEXT = (*SEPARATED, ".jsonl", ".ndjson")
SEPARATORS = ",;\t|"
BLOCK = 2**26
"""Bytes that are read at a time; no line may be longer."""
NUMBER = r"^\s*[-+]?[0-9]*(,[0-9]+|[0-9])([eE][-+]?[0-9]+)?\s*$"
"""With a comma before its fraction, if it has one."""
DEPTH = 64
"""Levels of lists and objects in a line, at most."""


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
    parsed = _joined({file: read_table(file, notes) for file in files}, notes)
    chosen = splits_of_files(path, list(parsed), config, notes)
    parsed = {file: parsed[file] for some_files in chosen.values() for file in some_files}
    found = dict(zip(parsed, with_images(parsed, root, config, notes), strict=True))
    for name, some_files in chosen.items():
        tables = [found[file] for file in some_files]
        try:
            splits[name] = pa.concat_tables(tables, promote_options="permissive")
        except pa.ArrowException as error:
            raise DistvaeError(
                f"files of split {name} of {path} do not fit together", str(error).splitlines()[0]
            ) from error
        if not splits[name].num_rows:
            raise DistvaeError(f"split {name} of {path} has no rows", "expected at least one row")
    name_columns(splits, path.name, notes, config.domain in domains_of_numbers())
    splits = split_by_column(
        splits,
        lambda table, column: table[column].to_pylist(),
        lambda table, column, rows: table.drop_columns([column]).take(rows),
        config,
        notes,
    )
    return TextTables(splits, notes)


def read_text(path: Path, root: Path, config: DataConfig, notes: Notes) -> "pa.Table":
    """The table in a file; paths of images in it are turned to be relative to ``root``.

    Raises:
        DistvaeError: it cannot be read.
    """
    return with_images({path: read_table(path, notes)}, root, config, notes)[0]


def _joined(tables: dict[Path, "pa.Table"], notes: Notes) -> dict[Path, "pa.Table"]:
    """Tables that tell of the same rows, each in columns of its own, as one; others as they are."""
    (path, whole), *others = tables.items()
    if {role_of(file.stem) for file in tables} & {"train", "test"}:
        return tables  # rows of two splits may have the same numbers
    for _, other in others:
        shared = [name for name in whole.column_names if name in other.column_names]
        if len(shared) != 1 or min(whole.num_columns, other.num_columns) < 2:
            return tables
        keys, rows = whole[shared[0]].to_pylist(), other[shared[0]].to_pylist()
        if any(isinstance(key, dict | list) for key in (*keys, *rows)):
            return tables
        place = {key: row for row, key in enumerate(rows)}
        if not len(place) == len(rows) == len(keys) or place.keys() != set(keys):
            return tables
        for name in other.column_names:
            if name != shared[0]:
                whole = whole.append_column(name, other[name].take([place[key] for key in keys]))
    if others:
        names = ", ".join(file.name for file in tables)
        notes.append(f"{names} tell of the same rows and are joined by column {shared[0]}")
    return {path: whole}


def read_table(path: Path, notes: Notes) -> "pa.Table":
    """The table in a file as it is written.

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

    first = _first_line(path)
    separator = _separator(path, first)
    fields = next(csv.reader([first], delimiter=separator), [])
    names = _names_without_header(fields)
    if "image" in names:
        notes.append(f"{path.name} has no header: its columns are {some(names)}")
    if separator != "," and ending(path.name) == ".csv":
        notes.append(f"{path.name} is separated by {separator!r}")
    if twice := [name for name, count in Counter(names or fields).items() if count > 1]:
        raise ValueError(f"two columns are called {twice[0]!r}, or the first line is no header")
    table = _split_up(path, separator, names, ".")
    if separator != "," and _has_decimal_commas(table):
        table = _split_up(path, separator, names, ",")
        notes.append(f"numbers of {path.name} have a comma before their fractions")
    for name, kind in zip(table.column_names, table.schema.types, strict=True):
        if pa.types.is_binary(kind):  # what pyarrow makes of text in another encoding
            raise UnicodeError(f"column {name} is not UTF-8")
    return table


def _split_up(path: Path, separator: str, names: list[str], point: str) -> "pa.Table":
    from pyarrow import csv as reader

    return reader.read_csv(
        path,
        reader.ReadOptions(block_size=BLOCK, column_names=names or None, encoding=_encoding(path)),
        reader.ParseOptions(delimiter=separator, newlines_in_values=True),
        reader.ConvertOptions(strings_can_be_null=True, decimal_point=point),
    )


def _has_decimal_commas(table: "pa.Table") -> bool:
    """Whether a column holds text like ``0,5`` alone, and none a number like ``0.5``."""
    import pyarrow as pa
    from pyarrow import compute

    if any(pa.types.is_floating(kind) for kind in table.schema.types):
        return False
    texts = [column for column in table.columns if pa.types.is_string(column.type)]
    return any(
        compute.all(compute.match_substring_regex(text, NUMBER)).as_py()
        and compute.any(compute.match_substring(text, ",")).as_py()
        for text in texts
    )


def _names_without_header(fields: Sequence[str]) -> list[str]:
    """Names for the columns of a table whose first line is its first row; none of another."""
    if is_nameless(fields):
        return [NAMELESS.format(number) for number in range(len(fields))]
    files = [field for field in fields if ending(field.strip()) in pictures()]
    if not files:
        return []
    known = {files[0]: "image", **{field: "split" for field in fields if field in roles(fields)}}
    names = [known.get(field, "") for field in fields]
    if names.count("") == 1:
        names[names.index("")] = "label"
    return [name or f"column {number}" for number, name in enumerate(names, 1)]


def _encoding(path: Path) -> str:
    """UTF-16 where a file begins with its mark, as spreadsheets write it, else UTF-8."""
    with path.open("rb") as file:
        return "utf-16" if file.read(2) in (BOM_UTF16_LE, BOM_UTF16_BE) else "utf-8"


def _first_line(path: Path) -> str:
    encoding = _encoding(path)
    if encoding == "utf-8":
        encoding = "utf-8-sig"  # of which pyarrow passes over the mark too
    with path.open(encoding=encoding, newline="") as file:
        line = re.split(r"[\r\n]", file.readline(BLOCK))[0]
    if "\0" in line:
        raise UnicodeError("its first line has NUL bytes: it is no text, or UTF-16 without a mark")
    return line


def _separator(path: Path, line: str) -> str:
    """The usual separator that there is most of in the first line, outside quotes."""
    if ending(path.name) != ".csv":
        return "\t"
    bare = re.sub(r'"[^"]*"', "", line)
    return max(SEPARATORS, key=bare.count)
