"""Examples of some labels alone, such as the one class that an anomaly is told from."""

import dataclasses

import numpy as np

from distvae.config import DataConfig
from distvae.data.sources.raw import UNLABELLED, RawData, RawSplit
from distvae.data.sources.splits import take
from distvae.errors import DistvaeError
from distvae.labels import parse_labels


def only_labels(raw: RawData, config: DataConfig) -> RawData:
    """The splits without examples of other labels than ``config.only_label`` lists.

    Where one label is all that an example is given, the labels that are left are numbered anew.

    Raises:
        DistvaeError: the data has no labels or not these, or a split has none of them.
    """
    if config.only_label is None:
        return raw
    if not raw.label_names:
        raise DistvaeError(
            f"--only-label {config.only_label}: {config.data} has no labels",
            "expected a label column or one folder per class",
            "Name the column with --label-column, or leave --only-label out.",
        )
    kept = sorted(set(parse_labels(config.only_label, raw.label_names)))
    splits = {name: _of_labels(split, kept, raw, config) for name, split in raw.splits.items()}
    names = tuple(raw.label_names[label] for label in kept)
    counts = ", ".join(f"{len(one.rows):,} of {one.name}" for one in splits.values())
    listed = ", ".join(names)
    note = f"of label {listed} alone, as --only-label {config.only_label} asks: {counts}"
    return dataclasses.replace(
        raw,
        train=splits["train"],
        test=splits["test"],
        label_names=raw.label_names if raw.attributes else names,
        notes=(*raw.notes, note),
    )


def _of_labels(split: RawSplit, kept: list[int], raw: RawData, config: DataConfig) -> RawSplit:
    labels = split.labels
    found = np.full(len(split.rows), UNLABELLED) if labels is None else labels
    part = take(split, np.flatnonzero(np.isin(found, kept)))
    if not len(part.rows):
        raise DistvaeError(
            f"--only-label {config.only_label}: split {split.name} of {config.data} has none",
            f"its {len(split.rows):,} examples have other labels",
            "Choose other labels, or other splits by --split-train and --split-test.",
        )
    if raw.attributes:
        return part
    assert part.labels is not None
    return dataclasses.replace(part, labels=np.searchsorted(kept, part.labels).astype(np.int64))
