"""Values of several attributes, as Python gives and takes them.

Needs numpy only. Values are float32: the index of a label or a number, NaN for what is not known.

Legend: N examples, A attributes.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distvae.attributes import Attribute
from distvae.errors import DistvaeError, nearest
from distvae.labels import Labels, label_indices, numbers_of
from distvae.text import shortened

Values = NDArray[np.float32]
Given = Callable[[NDArray[np.int64]], Values]
"""Numbers of examples ``[N]`` to what they are given ``[N, A]``."""


def asked_values(labels: Mapping[str, Any], attributes: Sequence[Attribute]) -> Values:
    """What a mapping of attributes asks for ``[N, A]``.

    Args:
        labels: by name of the attribute, one value or a list of them, in which None is not known.
        attributes: of the model.

    Raises:
        DistvaeError: an unknown attribute or label, one missing that no example lacked, something
            that is no number, or attributes with different numbers of values.
    """
    known = [each.name for each in attributes]
    for name in labels:
        if name not in known:
            raise DistvaeError(
                f"attribute {shortened(str(name))} is not in this model",
                f"it is given {', '.join(known) or 'none'}",
                nearest(str(name), known),
            )
    columns = [_column(labels.get(each.name), each) for each in attributes]
    sizes = {len(column) for column in columns} - {1}
    if len(sizes) > 1:
        raise DistvaeError(
            f"attributes have {' and '.join(map(str, sorted(sizes)))} values",
            "expected one value, or as many as the others",
        )
    size = sizes.pop() if sizes else 1
    whole = [np.broadcast_to(column, size) for column in columns]
    return np.stack(whole, axis=1) if whole else np.empty((1, 0), np.float32)


def by_name(values: Values, attributes: Sequence[Attribute]) -> dict[str, list[Any]]:
    """Values ``[N, A]`` as a mapping that asks for them, None for what is not known."""
    result: dict[str, list[Any]] = {}
    for each, column in zip(attributes, values.T, strict=True):
        unknown = np.isnan(column)
        listed = column.tolist()
        if each.labels:
            numbers = numbers_of(each.labels)
            listed = numbers[np.where(unknown, 0, column).astype(np.int64)].tolist()
        result[each.name] = [
            None if gap else value for gap, value in zip(unknown, listed, strict=True)
        ]
    return result


def all_in_turn(attributes: Sequence[Attribute], images: NDArray[np.int64]) -> Values:
    """Every combination of labels by the number of an image ``[N]``, numbers at their mean.

    The label of the last attribute changes with every image.
    """
    values = np.empty((len(images), len(attributes)), np.float32)
    for place, each in reversed(list(enumerate(attributes))):
        values[:, place] = each.mean
        if each.labels:
            images, values[:, place] = np.divmod(images, len(each.labels))
    return values


def _column(asked: Labels | None, attribute: Attribute) -> Values:
    """Values of one attribute ``[N]``."""
    if asked is None:
        return np.array([not_known(attribute)], np.float32)
    if isinstance(asked, list | tuple) and any(value is None for value in asked):
        column = np.full(len(asked), not_known(attribute), np.float32)
        there = [value is not None for value in asked]
        if any(there):
            column[there] = _column([value for value in asked if value is not None], attribute)
        return column
    if attribute.labels:
        return label_indices(asked, attribute.labels).astype(np.float32)
    return finite_numbers(asked, attribute)


def finite_numbers(asked: Any, attribute: Attribute) -> Values:
    """Numbers of one attribute ``[N]``.

    Raises:
        DistvaeError: they are none, or not finite.
    """
    try:
        numbers = np.atleast_1d(np.asarray(asked, np.float32))
    except (TypeError, ValueError):
        numbers = np.array([[np.nan]], np.float32)
    if numbers.ndim > 1 or not np.isfinite(numbers).all():
        raise DistvaeError(
            f"attribute {attribute.name} is {shortened(repr(asked))}",
            "expected a finite number, or a list or array of them",
        )
    return numbers


def not_known(attribute: Attribute) -> float:
    """What stands for a value that is not known, where some examples lacked one."""
    if attribute.missing:
        return float("nan")
    raise DistvaeError(
        f"attribute {attribute.name} is missing",
        "every example that this model was trained on has it",
        f"Give {attribute.name}.",
    )
