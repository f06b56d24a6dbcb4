"""What a run will see of some data: counts, values and a sheet of examples."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distvae.attributes import labels_counted
from distvae.data.examples import domain_of_data
from distvae.data.sources.attributes import labels_of
from distvae.data.sources.raw import UNLABELLED
from distvae.data.store import ImageData, Split
from distvae.domains import images_of
from distvae.files import reporting_disk_errors
from distvae.images import save_grid
from distvae.places import evenly

COLUMNS, ROWS = 10, 20
"""Of the sheet: examples of a label, and labels."""


def rows_of(data: ImageData) -> list[tuple[str, str]]:
    """What is known of the data as a whole, by name."""
    what, stored = data.examples, data.train.stored
    domain = domain_of_data(data)
    rows = [
        ("source", data.source),
        domain.title,
        (f"training {what}", f"{data.train_images:,}"),
        (f"test {what}", f"{len(data.test):,} ({data.test_origin})"),
    ]
    if data.validation is not None:
        rows.append((f"validation {what}", f"{len(data.validation):,} ({data.validation_origin})"))
    return [
        *rows,
        ("labels", str(data.num_labels) if data.num_labels else "none")
        if not data.attributes
        else ("given", labels_counted(data.attributes)),
        *domain.summary(stored),
        ("fingerprint", data.fingerprint),
    ]


def column_rows(data: ImageData) -> list[tuple[str, ...]]:
    """What the training rows hold in each column, a header first; nothing of images."""
    return domain_of_data(data).by_column(data.train.stored)


def label_rows(data: ImageData) -> list[tuple[str, list[tuple[str, ...]]]]:
    """How many images of each label every split has: a title and rows, a header first.

    One table for each attribute that has labels.
    """
    there = _splits(data)
    if not data.attributes and data.num_labels:
        labels = {name: split.labels for name, split in there.items()}
        return [
            ("label by label", _label_rows("label", data.label_names, labels, there, data.examples))
        ]
    result = []
    for place, each in enumerate(data.attributes):
        if each.labels:
            labels = {
                name: labels_of(data.attributes, split.attributes, place)
                for name, split in there.items()
                if split.attributes is not None
            }
            rows = _label_rows(each.name, each.labels, labels, there, data.examples)
            result.append((f"{each.name} by {each.name}", rows))
    return result


def attribute_rows(data: ImageData) -> list[tuple[str, ...]]:
    """The numbers that examples are given in every split, a header first; none without."""
    there = _splits(data)
    rows = []
    for place, each in enumerate(data.attributes):
        cells = []
        for split in there.values():
            assert split.attributes is not None
            column = split.attributes[:, place].astype(np.float64)
            known = column[~np.isnan(column)]
            gaps = f"{len(column) - len(known):,} of {len(column):,} not known"
            span = f"{known.min():.5g} to {known.max():.5g}, mean {known.mean():.5g}; "
            cells.append(f"{span if len(known) and not each.labels else ''}{gaps}")
        rows.append((f"{each.name}: {len(each.labels) or 'a number'}", *cells))
    return [("", *there), *rows] if rows else []


def _splits(data: ImageData) -> dict[str, Split]:
    splits = {"train": data.train, "validation": data.validation, "test": data.test}
    return {name: split for name, split in splits.items() if split is not None}


def _label_rows(
    what: str,
    names: Sequence[str],
    labels: Mapping[str, NDArray[np.int64] | None],
    splits: Mapping[str, Split],
    examples: str,
) -> list[tuple[str, ...]]:
    counts = {
        name: np.array([*([0] * len(names)), len(splits[name])])
        if found is None
        else _counts(found, len(names))
        for name, found in labels.items()
    }
    rows = [
        (f"{what} {number}: {name}", *(f"{found[number]:,}" for found in counts.values()))
        for number, name in enumerate(names)
    ]
    if any(found[UNLABELLED] for found in counts.values()):
        rows.append((f"no {what}", *(f"{found[UNLABELLED]:,}" for found in counts.values())))
    return [(f"{examples} by {what}", *counts), *rows]


def _counts(labels: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Images by label, int64 [count + 1]; the last are those without."""
    result: NDArray[np.int64] = np.bincount(
        np.where(labels == UNLABELLED, count, labels), minlength=count + 1
    )
    return result


def write_examples(path: Path, data: ImageData) -> str:
    """Write a sheet of training images as a PNG, a row for each of the first labels.

    Returns:
        What is on it.

    Raises:
        DistvaeError: it cannot be written.
    """
    split, what = data.train, "training images"
    if data.num_labels and split.labels is not None:
        shown = [number for number in range(data.num_labels) if (split.labels == number).any()]
        what = "a row of training images for each label"
        if len(shown) > ROWS:
            what = f"a row of training images for each of the first {ROWS} labels"
        images = [_spaced(split, np.flatnonzero(split.labels == n)) for n in shown[:ROWS]]
    else:
        images = [_spaced(split, np.arange(len(split)), COLUMNS * COLUMNS)]
    with reporting_disk_errors(f"{path} cannot be written", path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        save_grid(path, images_of(domain_of_data(data)).pictures(np.concatenate(images)), COLUMNS)
    return what


def _spaced(split: Split, rows: NDArray[np.int64], count: int = COLUMNS) -> NDArray[Any]:
    """So many images that lie evenly among these rows, then black ones to fill the row up."""
    places = rows[evenly(len(rows), count)]
    missing = -len(places) % COLUMNS
    return np.pad(split.images[places], ((0, missing), (0, 0), (0, 0), (0, 0)))
