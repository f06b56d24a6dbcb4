"""Tables whose columns are the pixels of images, with or without names, or of which one has all."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from distvae.config import DataConfig
from distvae.data.sources.array_labels import ArraySplit
from distvae.data.sources.attributes import asked_columns, objects
from distvae.data.sources.columns import LABEL_COLUMNS, check_known
from distvae.data.sources.raw import Notes
from distvae.errors import DistvaeError, NotImagesError
from distvae.text import some

if TYPE_CHECKING:
    import pyarrow as pa

PIXELS = 16
"""So many numbered columns are the pixels of an image."""
NAMELESS = "column {} of a table without names"
"""What columns are called until it is known what they are."""
CLEARLY = 2.0
"""By this factor one thing must exceed another to be taken for evidence."""


def is_nameless(fields: Sequence[str]) -> bool:
    """Whether the first line of a table is its first image and not the names of its columns."""
    number = r"\s*-?[\d.,]+(e[+-]?\d+)?\s*"
    return len(fields) >= PIXELS and all(re.fullmatch(number, field, re.I) for field in fields)


def name_columns(
    tables: dict[str, "pa.Table"], data: str, notes: Notes, numbered: bool = False
) -> None:
    """Give their names to the columns of tables that have none: pixels, and perhaps a label.

    Args:
        tables: by split, in which the names are changed.
        data: what they are called.
        notes: is told what was recognized.
        numbered: whether they are no pixels and get numbers from 0 on.

    Raises:
        DistvaeError: there is a label, and nothing tells whether it comes first or last.
    """
    bare = {
        name: table
        for name, table in tables.items()
        if table.num_columns and table.column_names[0] == NAMELESS.format(0)
    }
    for count in dict.fromkeys(table.num_columns for table in bare.values()):
        alike = {name: table for name, table in bare.items() if table.num_columns == count}
        if numbered:
            for name, table in alike.items():
                tables[name] = table.rename_columns(list(map(str, range(count))))
            notes.append(f"{data} has no header: its columns are called 0 to {count - 1}")
            continue
        place = _place_of_label(list(alike.values()), count, data)
        names = [f"pixel{number}" for number in range(count - (place is not None))]
        if place is not None:
            names.insert(0 if place == "first" else count - 1, "label")
        for name, table in alike.items():
            tables[name] = table.rename_columns(names)
        where = f"the {place} is taken for the label" if place else "all are pixels"
        notes.append(f"{data} has no header: of its {count} columns {where}")


def _place_of_label(tables: Sequence["pa.Table"], count: int, data: str) -> str | None:
    """``first`` or ``last``; None where all columns are pixels."""
    if not _may_be_image(count - 1):
        return None if _may_be_image(count) else "first"
    ends = {
        place: [np.concatenate([_numbers(table, number) for table in tables]) for number in pair]
        for place, pair in (("first", (0, 1)), ("last", (count - 1, count - 2)))
    }
    likely = {place for place, (end, _) in ends.items() if _may_be_labels(end)}
    unlike = _unlike(ends)
    if _may_be_image(count):  # as likely as one with a label
        return unlike if likely == {unlike} else None
    if len(likely) == 1 and unlike in (None, *likely):
        return likely.pop()
    if len(likely) != 1 and unlike is not None:
        return unlike
    kinds = [f"{some(np.unique(end), 4)} in the {place}" for place, (end, _) in ends.items()]
    raise NotImagesError(
        f"{data} has {count} columns without names",
        f"{count - 1} are the pixels of an image, and nothing tells whether the label comes first "
        f"or last: there is {' and '.join(kinds)}",
        "Write a first line with names, such as label,pixel0,pixel1 and so on.",
    )


def _numbers(table: "pa.Table", column: int) -> NDArray[np.float64]:
    """A column as numbers, NaN where there is none."""
    cells = table.column(column)
    try:
        return np.asarray(cells.to_numpy(), np.float64)
    except ValueError:  # text
        return np.full(len(cells), np.nan)


def _may_be_labels(values: NDArray[np.float64]) -> bool:
    """Whether these are whole numbers, more than one and each on the average twice."""
    there = values[~np.isnan(values)]
    distinct = np.unique(there)
    whole = bool((there == np.rint(there)).all())
    return whole and 1 < len(distinct) <= max(2, len(there) / 2)


def _unlike(ends: Mapping[str, Sequence[NDArray[np.float64]]]) -> str | None:
    """The end that differs from the column beside it, as pixels do not, or has far fewer values."""
    (first, second), (last, inner) = ends["first"], ends["last"]
    apart = [_distance(end, near) for end, near in ((first, second), (last, inner))]
    if max(apart) > CLEARLY * min(apart):
        return "first" if apart[0] > apart[1] else "last"
    distinct = [len(np.unique(end)) for end in (first, last)]
    if min(distinct) > 1 and max(distinct) > CLEARLY * min(distinct):
        return "first" if distinct[0] < distinct[1] else "last"
    return None


def _distance(end: NDArray[np.float64], near: NDArray[np.float64]) -> float:
    """How far two columns are apart in the mean, where both have a number."""
    apart = abs(end - near)
    return float(apart[~np.isnan(apart)].mean()) if not np.isnan(apart).all() else 0.0


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
    asked = asked_columns(config.label_column, first.column_names)
    label = _label_column(first, {*columns, written or ""}, asked, config, notes)
    result = {}
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
        cells = {
            column: objects(table[column].to_pylist())
            for column in dict.fromkeys((*asked, *([label] if label else [])))
            if column in table.column_names
        }
        given = {column: cells[column] for column in asked if column in cells}
        result[name] = ArraySplit(pixels, cells.get(label or ""), given if asked else None)
    return result


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
    table: "pa.Table", pixels: set[str], asked: Sequence[str], config: DataConfig, notes: Notes
) -> str | None:
    """The column beside the pixels that holds labels, the first of those that are asked for."""
    others = [name for name in table.column_names if name not in pixels]
    for name in asked:
        check_known(dict.fromkeys(table.column_names), name, "--label-column", config.data)
    if asked:
        return asked[0]
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
