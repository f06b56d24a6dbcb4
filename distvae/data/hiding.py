"""Labels that are hidden from a training, as if nobody had given them."""

import dataclasses

import numpy as np

from distvae.data.image_data import ImageData
from distvae.data.sources.raw import UNLABELLED
from distvae.draws.order import permutation
from distvae.draws.philox import Stream
from distvae.errors import DistvaeError


def hide_labels(data: ImageData, keep: int, seed: int) -> ImageData:
    """The same data of which ``keep`` training examples have a label, the others none.

    Of each label as many are kept as of every other, as far as it has so many; where the number
    cannot be divided, chance says which labels have one more.

    Args:
        data: whose test and validation splits stay as they are.
        keep: how many, at least one of each label.
        seed: of the choice.

    Raises:
        DistvaeError: the data has no labels or several attributes, is streamed, or has more labels
            than are to be kept, or fewer labelled examples.
    """
    _check(data, keep)
    labels = data.train.labels
    assert labels is not None
    order = permutation(len(labels), seed, Stream.KEPT)
    order = order[labels[order] != UNLABELLED]
    by_label = np.argsort(labels[order], kind="stable")
    starts = np.searchsorted(labels[order][by_label], np.arange(data.num_labels))
    turn = np.empty(len(order), np.int64)  # the how manieth of its label
    turn[by_label] = np.arange(len(order)) - starts[labels[order][by_label]]
    kept = order[np.argsort(turn, kind="stable")[:keep]]
    hidden = np.full_like(labels, UNLABELLED)
    hidden[kept] = labels[kept]
    counts = np.bincount(labels[kept], minlength=data.num_labels)
    each = f"{counts.min():,}" if counts.min() == counts.max() else "as many as can be"
    note = (
        f"{keep:,} of {len(labels):,} training {data.examples} keep their label, {each} of each, "
        f"seed {seed}; those of the others are hidden from the training"
    )
    return dataclasses.replace(
        data, train=data.train.with_labels(hidden), notes=(*data.notes, note)
    )


def _check(data: ImageData, keep: int) -> None:
    if data.sampled:
        other = "--augment crop" if data.stream is None else "--streaming"
        raise DistvaeError(
            f"--keep-labels does not fit {other}",
            "labels are chosen among all training examples",
            "Leave one of them out.",
        )
    if data.attributes or not data.label_names or data.train.labels is None:
        raise DistvaeError(
            f"--keep-labels needs one label for each example, and {data.source} has "
            f"{'several attributes' if data.attributes else 'none'}",
            "labels are kept by turns",
            "Name one by --label-column, or leave --keep-labels out.",
        )
    seen = len(np.unique(data.train.labels[data.train.labels != UNLABELLED]))
    if not seen <= keep <= data.train.labelled:
        raise DistvaeError(
            f"--keep-labels {keep} does not fit {data.source}",
            f"expected from {seen} (one of each label) to {data.train.labelled:,} (all that there "
            "are)",
            f"Take --keep-labels {min(10 * seen, data.train.labelled)}.",
        )
