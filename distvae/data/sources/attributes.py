"""Columns that say what examples are given: several labels and real numbers, each with gaps.

Values of all attributes are one array, float32 ``[N, A]``: the index of a label or a number, NaN
where it is not known.
"""

import dataclasses
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from distvae.attributes import Attribute, main_label
from distvae.config import DataConfig
from distvae.data.sources.labels import NoLabelsError, clean_names, from_numbers, from_values
from distvae.data.sources.raw import UNLABELLED, Notes, RawData, RawSplit
from distvae.data.sources.splits import finish
from distvae.errors import DistvaeError
from distvae.text import counted

MOST_LABELS = 100
"""Whole numbers of more values than these measure something."""
Values = NDArray[np.float32]


class Column(NamedTuple):
    """A column as it is stored."""

    cells: Mapping[str, list[Any]]
    """By split, the training split first."""
    names: tuple[str, ...] = ()
    """Of labels that are stored as their indices."""
    number: bool = False
    """Whether it is known to hold real numbers."""


class Given(NamedTuple):
    """What examples are given."""

    attributes: tuple[Attribute, ...]
    values: dict[str, Values]
    """By split ``[N, A]``."""

    @property
    def label_names(self) -> tuple[str, ...]:
        """Labels of the first attribute that has some."""
        place = main_label(self.attributes)
        return () if place is None else self.attributes[place].labels

    @property
    def is_label(self) -> bool:
        """Whether this is one label, which needs no name."""
        return len(self.attributes) == 1 and bool(self.attributes[0].labels)

    def described(self, split: RawSplit) -> RawSplit:
        """A split with what its examples are given, and with the labels of the first attribute."""
        values = self.values[split.name]
        labels = labels_of(self.attributes, values)
        return dataclasses.replace(
            split, labels=labels, attributes=None if self.is_label else values
        )


def asked_columns(wanted: str | None, known: Collection[str]) -> tuple[str, ...]:
    """The columns that --label-column names: one, or several with commas between.

    Raises:
        DistvaeError: one is named twice.
    """
    if wanted is None:
        return ()
    if wanted in known or "," not in wanted:
        return (wanted,)
    names = tuple(name.strip() for name in wanted.split(",") if name.strip())
    if len(set(names)) < len(names):
        raise DistvaeError(
            f"--label-column {wanted} names a column twice", "expected each once", "Name it once."
        )
    return names


def objects(cells: Sequence[Any]) -> NDArray[Any]:
    """Cells of any kind as an array ``[N]``."""
    result = np.empty(len(cells), object)
    result[:] = cells
    return result


def are_attributes(columns: Mapping[str, Column]) -> bool:
    """Whether these are something else than one column of labels."""
    return len(columns) > 1 or any(
        column.number or (not column.names and _has_fractions(column.cells))
        for column in columns.values()
    )


def read_attributes(columns: Mapping[str, Column], data: str, notes: Notes) -> Given:
    """Attributes of columns by their names.

    Text and whole numbers of few values are labels; numbers with fractions or of many values are
    real numbers. None, NaN and empty text are values that are not known.

    Raises:
        DistvaeError: a column holds neither, nothing at all, or labels that the first split lacks.
    """
    attributes: list[Attribute] = []
    by_split: dict[str, list[Values]] = {}
    for name, column in columns.items():
        try:
            attribute, values = _attribute(name, column, data, notes)
        except NoLabelsError as error:
            raise DistvaeError(
                f"--label-column {name} of {data} holds no labels",
                f"{error}, expected text, or one number per example",
            ) from error
        attributes.append(attribute)
        for split, found in values.items():
            by_split.setdefault(split, []).append(found)
    listed = ", ".join(f"{each.name} ({_kind(each)})" for each in attributes)
    notes.append(f"examples are given {listed}")
    joined = {split: np.stack(parts, axis=1) for split, parts in by_split.items()}
    return Given(tuple(attributes), joined)


def _attribute(
    name: str, column: Column, data: str, notes: Notes
) -> tuple[Attribute, dict[str, Values]]:
    first = next(iter(column.cells.values()))
    if all(map(_is_missing, first)):
        raise DistvaeError(
            f"--label-column {name} of {data} holds nothing",
            "expected text, or one number per example",
            "Leave it out.",
        )
    if column.number or (not column.names and _are_numbers(column.cells, first)):
        return Attribute(name), {
            split: _numbers(name, cells, split, data) for split, cells in column.cells.items()
        }
    if column.names:
        names = clean_names(column.names, data)
        indices = from_numbers(column.cells, names, name, data)
    else:
        indices, names = from_values(column.cells, name, data, notes)
    values = {
        split: np.where(found == UNLABELLED, np.nan, found).astype(np.float32)
        for split, found in indices.items()
    }
    return Attribute(name, names), values


def _are_numbers(cells: Mapping[str, list[Any]], first: Sequence[Any]) -> bool:
    known = [value for values in cells.values() for value in values if not _is_missing(value)]
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in known):
        return False
    return _has_fractions(cells) or len({v for v in first if not _is_missing(v)}) > MOST_LABELS


def _has_fractions(cells: Mapping[str, list[Any]]) -> bool:
    return any(
        isinstance(value, float) and math.isfinite(value) and not value.is_integer()
        for values in cells.values()
        for value in values
    )


def _is_missing(value: Any) -> bool:
    empty = isinstance(value, str | bytes) and not value.strip()
    return value is None or empty or (isinstance(value, float) and math.isnan(value))


def _numbers(name: str, cells: Sequence[Any], split: str, data: str) -> Values:
    with np.errstate(over="ignore"):
        values = np.array([math.nan if cell is None else cell for cell in cells], np.float32)
    if len(wrong := np.flatnonzero(np.isinf(values))):
        raise DistvaeError(
            f"column {name} in row {wrong[0]} of split {split} of {data} is {cells[wrong[0]]:g}",
            "expected a finite number of 32 bits, or nothing",
            "Mend it.",
        )
    return values


def _kind(attribute: Attribute) -> str:
    return counted(len(attribute.labels), "labels") if attribute.labels else "a number"


def finished(
    config: DataConfig,
    splits: Mapping[str, RawSplit],
    chosen: tuple[str, str | None],
    given: Given | None,
    label_names: tuple[str, ...],
    notes: Notes,
) -> RawData:
    """Both splits with what their examples are given.

    Args:
        config: of the data.
        splits: by name, with their labels.
        chosen: which is trained on, and which is tested on, if not a part of the other.
        given: what stands in place of one label, if anything does.
        label_names: of the labels.
        notes: what is to be said.
    """
    if given is not None:
        splits = {name: given.described(split) for name, split in splits.items()}
        label_names = given.label_names
    attributes = () if given is None or given.is_label else given.attributes
    train, test = (splits[name] if name else None for name in chosen)
    assert train is not None
    return finish(config, train, test, label_names, notes, attributes=attributes)


def labels_of(
    attributes: Sequence[Attribute], values: Values, place: int | None = None
) -> NDArray[np.int64] | None:
    """Labels of one attribute, int64 ``[N]``, :data:`UNLABELLED` where one is not known.

    Args:
        attributes: of the examples.
        values: theirs ``[N, A]``.
        place: of the attribute; left out, that of :func:`main_label`; None is of none with labels.
    """
    place = main_label(attributes) if place is None else place
    if place is None:
        return None
    column = values[:, place]
    return np.where(np.isnan(column), UNLABELLED, column).astype(np.int64)


def measured(
    attributes: Sequence[Attribute], splits: Mapping[str, RawSplit], sample: bool
) -> tuple[Attribute, ...]:
    """The attributes with what the training split tells of numbers, and which may be missing.

    Args:
        attributes: without.
        splits: by name, the training split first.
        sample: whether that is but a sample, after which any may be missing.
    """
    whole = [split.attributes for split in splits.values() if split.attributes is not None]
    found = []
    for place, each in enumerate(attributes):
        missing = sample or any(bool(np.isnan(values[:, place]).any()) for values in whole)
        mean, scale = each.mean, each.scale
        if not each.labels:
            known = whole[0][:, place].astype(np.float64)
            known = known[~np.isnan(known)]
            mean, scale = (float(known.mean()), float(known.std())) if len(known) else (0.0, 1.0)
        found.append(dataclasses.replace(each, mean=mean, scale=scale or 1.0, missing=missing))
    return tuple(found)


def missing_values(
    attributes: Sequence[Attribute], splits: Mapping[str, RawSplit], sample: bool
) -> Notes:
    """What is said of values that are not known, an attribute a sentence."""
    said = []
    for place, each in enumerate(attributes):
        counts = {}
        for name, split in splits.items():
            assert split.attributes is not None
            if missing := int(np.isnan(split.attributes[:, place]).sum()):
                of = "a sample of " if sample and name == "train" else ""
                counts[name] = f"{missing:,} of {len(split.rows):,} examples of {of}{name}"
        if not counts:
            continue
        never = "; all training examples have it, so nothing is learned of those that lack it"
        learned = sample or "train" in counts
        known = f"{each.name} is not known of {', '.join(counts.values())}"
        said.append(known if learned else known + never)
    return said
