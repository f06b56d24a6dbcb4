"""The labels of arrays, and what else is known of their examples.

Legend: N examples.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from distvae.config import DataConfig
from distvae.data.sources import labels as told_labels
from distvae.data.sources.attributes import Column, Given, are_attributes, read_attributes
from distvae.data.sources.labels import NoLabelsError, Numbers
from distvae.data.sources.raw import Notes
from distvae.errors import DistvaeError


class Values(Protocol):
    """An array ``[N, ...]`` that is perhaps not in memory."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The whole shape, N first."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of its numbers."""
        ...

    def __getitem__(self, rows: Any) -> NDArray[Any]:
        """The values of these rows, an array or a slice."""
        ...


class ArraySplit(NamedTuple):
    """The images of a split and, where there are any, labels ``[N]``, ``[N, 1]`` or one-hot."""

    images: Values
    labels: NDArray[Any] | None
    attributes: Mapping[str, NDArray[Any]] | None = None
    """Columns ``[N]`` by name that are asked for, perhaps in place of the labels."""


def given_of(config: DataConfig, splits: Mapping[str, ArraySplit], notes: Notes) -> Given | None:
    """What examples are given where several columns are asked for, or one that holds fractions."""
    first = next(iter(splits.values())).attributes
    if first is None or (len(first) == 1 and any(np.ndim(each) > 1 for each in first.values())):
        return None
    columns = {}
    for name in first:
        cells = {}
        for split, found in splits.items():
            count = found.images.shape[0]
            column = (found.attributes or {}).get(name)
            values = [None] * count if column is None else np.asarray(column).reshape(-1).tolist()
            if len(values) != count:
                raise DistvaeError(
                    f"split {split} of {config.data} has {count} examples and {len(values)} {name}",
                    "expected one value per example",
                    "Make them as many.",
                )
            cells[split] = values
        columns[name] = Column(cells)
    return read_attributes(columns, config.data, notes) if are_attributes(columns) else None


def labels_of_arrays(
    config: DataConfig, splits: Mapping[str, ArraySplit], names: tuple[str, ...], notes: Notes
) -> tuple[Numbers, tuple[str, ...]]:
    """Labels by split, and their names; none where there are none or they are no single label."""
    first = next(iter(splits))
    if splits[first].labels is None:
        return {}, ()
    missing = [name for name, split in splits.items() if split.labels is None]
    values = {
        name: np.full(split.images.shape[0], np.nan) if split.labels is None else split.labels
        for name, split in splits.items()
    }
    for name, found in values.items():
        count = splits[name].images.shape[0]
        if len(found) != count:
            raise DistvaeError(
                f"split {name} of {config.data} has {count} images and {len(found)} labels",
                f"their arrays are {splits[name].images.shape} and {found.shape}",
                "Make them as many.",
            )
    try:
        flat = {name: _flat(found) for name, found in values.items()}
        width = values[first].shape[-1] if values[first].ndim == 2 else 1
        known = names or (tuple(map(str, range(width))) if width > 1 else ())
        if known and not missing and all(found.dtype.kind in "iu" for found in flat.values()):
            known = told_labels.clean_names(known, config.data)
            return told_labels.from_numbers(flat, known, "labels", config.data), known
        listed = {name: found.tolist() for name, found in flat.items()}
        return told_labels.from_values(listed, "labels", config.data, notes)
    except NoLabelsError as error:
        notes.append(f"labels are left out: {error}")
        return {}, ()


def _flat(labels: NDArray[Any]) -> NDArray[Any]:
    if labels.ndim == 2 and labels.shape[1] == 1:
        return labels[:, 0]
    if labels.ndim == 2:
        return told_labels.from_one_hot(labels)
    if labels.ndim != 1:
        raise NoLabelsError(f"an array of shape {labels.shape} holds no label for each image")
    return labels
