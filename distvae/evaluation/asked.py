"""What a conditional model is asked for when it is measured: a label, and all else as in the data.

Where examples are given several attributes, one of them is looked at, the first that has labels
unless it is said which; the others are as some training examples have them, together.

Legend: N images.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from distvae.attribute_values import by_name
from distvae.attributes import main_label
from distvae.conditions import Conditions
from distvae.data.identity import combined
from distvae.data.sources.attributes import labels_of
from distvae.data.store import ImageData, Split
from distvae.labels import Labels, numbers_of


def of_attribute(data: ImageData, place: int | None = None) -> ImageData:
    """The same data whose labels are those of one attribute, and which is given nothing else.

    Args:
        data: of several attributes; of one label it is itself.
        place: of an attribute that has labels; left out, the first.
    """
    if not data.attributes:
        return data
    main = main_label(data.attributes)
    place = main if place is None else place
    if place is None:
        return dataclasses.replace(data, attributes=())

    def split(whole: Split) -> Split:
        assert whole.attributes is not None
        labels = labels_of(data.attributes, whole.attributes, place)
        return dataclasses.replace(whole, labels=labels, attributes=None)

    attribute = data.attributes[place]
    other = data.fingerprint if place == main else combined([data.fingerprint, attribute.name])[:16]
    return dataclasses.replace(
        data,
        train=split(data.train),
        test=split(data.test),
        validation=None if data.validation is None else split(data.validation),
        label_names=attribute.labels,
        attributes=(),
        fingerprint=other,
    )


def asked_like(data: ImageData, split: Split, rows: NDArray[np.int64]) -> Labels:
    """What to ask a model for, so that it draws images like these of a split, one for each row."""
    if not data.attributes:
        assert split.labels is not None
        return numbers_of(data.label_names)[split.labels[rows]].tolist()
    assert split.attributes is not None
    return by_name(split.attributes[rows], data.attributes)


def asked_for(
    data: ImageData, labels: Sequence[int], count: int, place: int | None = None
) -> dict[str, Any]:
    """What to ask a model for, so that it draws ``count`` images of each label: labels and ``n``.

    Args:
        data: the model's.
        labels: by index.
        count: of each.
        place: of the attribute whose labels they are; left out, the first that has some.
    """
    if not data.attributes:
        return {"labels": numbers_of(data.label_names)[list(labels)].tolist(), "n": count}
    place = main_label(data.attributes) if place is None else place
    assert place is not None
    assert data.train.attributes is not None
    rows = np.arange(count) * max(1, len(data.train) // count) % len(data.train)
    values = np.tile(data.train.attributes[rows], (len(labels), 1))
    values[:, place] = np.repeat(labels, count)
    return {"labels": by_name(values, data.attributes), "n": 1}


def with_label(conditions: Conditions, labels: torch.Tensor, place: int = 0) -> Conditions:
    """The same conditions but for the label of one attribute, int64 ``[B]``."""
    values, known = conditions.values.clone(), conditions.known.clone()
    values[:, place] = labels.to(values)
    known[:, place] = True
    return Conditions(values, known)
