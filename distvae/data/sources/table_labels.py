"""The labels of tables of `datasets`, and what else their columns say that examples are given."""

from collections.abc import Mapping, Sequence
from typing import Any

from distvae.config import DataConfig
from distvae.data.sources import columns
from distvae.data.sources.attributes import Column, Given, are_attributes, read_attributes
from distvae.data.sources.labels import (
    NoLabelsError,
    Numbers,
    clean_names,
    from_numbers,
    from_values,
)
from distvae.data.sources.raw import UNLABELLED, Notes
from distvae.errors import DistvaeError
from distvae.text import some


def given_of(
    tables: Mapping[str, Any],
    image: str,
    candidates: Sequence[str],
    config: DataConfig,
    notes: Notes,
) -> Given | None:
    """What examples are given where several columns are asked for, or one that holds fractions."""
    if config.label_column is None:
        return None
    found = {name: _column(tables, name, config) for name in candidates}
    if not are_attributes(found):
        return None
    others = columns.others(next(iter(tables.values())).features, image)
    if left := [name for name in others if name not in found]:
        notes.append(f"left out: {some(left)} (--label-column)")
    return read_attributes(found, config.data, notes)


def labels_of_tables(
    tables: Mapping[str, Any],
    image: str,
    candidates: list[str],
    config: DataConfig,
    notes: Notes,
) -> tuple[Numbers, tuple[str, ...]]:
    """The labels of the first column that holds some, and their names."""
    first = next(iter(tables))
    features = tables[first].features
    others = columns.others(features, image)
    for column in candidates:
        try:
            numbers, names = _column_labels(tables, column, config, notes)
            if not names or (numbers[first] == UNLABELLED).all():
                raise NoLabelsError("all are missing")
            guess = config.label_column is None and columns.is_guess(column, features)
            if guess and 2 * len(names) > len(numbers[first]):
                raise NoLabelsError("most rows have a value of their own")
        except NoLabelsError as error:
            if config.label_column is not None:
                raise DistvaeError(
                    f"--label-column {column} of {config.data} holds no labels",
                    f"{error}, expected one whole number or text per image",
                ) from error
            notes.append(f"column {column} holds no labels: {error}")
            others.remove(column)
            continue
        others.remove(column)
        if left := others:
            note = f"labels are taken from column {column}; left out: {some(left)}"
            notes.append(f"{note} (--label-column)")
        elif column not in ("label", config.label_column):
            notes.append(f"labels are taken from column {column}")
        return numbers, names
    if others:
        kinds = {name: columns.kind_of(tables[first].features[name]) for name in others}
        note = some(f"{name} ({kind})" for name, kind in kinds.items())
        notes.append(f"no labels are found; left out: {note} (--label-column)")
    return {}, ()


def _column_labels(
    tables: Mapping[str, Any], column: str, config: DataConfig, notes: Notes
) -> tuple[Numbers, tuple[str, ...]]:
    values, names, _ = _column(tables, column, config)
    if names:
        names = clean_names(names, config.data)
        return from_numbers(values, names, column, config.data), names
    return from_values(values, column, config.data, notes)


def _column(tables: Mapping[str, Any], column: str, config: DataConfig) -> Column:
    """A column of all tables, which say the same names of its labels.

    Raises:
        DistvaeError: they do not.
    """
    import datasets

    first, named = next(iter(tables)), {}
    for split, table in tables.items():
        kind = table.features.get(column)
        if kind is not None:
            named[split] = tuple(kind.names) if isinstance(kind, datasets.ClassLabel) else None
    for split, names in named.items():
        if names != named[first]:
            raise DistvaeError(
                f"splits {first} and {split} of {config.data} have different labels in {column}",
                f"{some(named[first])} against {some(names)}",
                "Make them the same, or choose other splits by --split-train and --split-test.",
            )
    values = {split: column_cells(table, column, config.data) for split, table in tables.items()}
    kind = columns.kind_of(tables[first].features[column])
    return Column(values, named[first] or (), config.streaming and kind.startswith("float"))


def column_cells(table: Any, column: str, data: str) -> list[Any]:
    """A column as it is stored; nothing for each row where the table lacks it.

    Raises:
        DistvaeError: it holds text that is not UTF-8.
    """
    if column not in table.features:
        return [None] * len(table)
    try:
        cells: list[Any] = (
            table.select_columns([column]).with_format("arrow")[:][column].to_pylist()
        )
    except UnicodeDecodeError as error:
        raise DistvaeError(f"column {column} of {data} is not UTF-8", str(error)) from error
    return cells
