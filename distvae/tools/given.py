"""What a model is given of examples whose labels are those of other data.

Legend: N examples, R rows of what is asked for, A attributes of the model, D attributes of the
data.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from distvae.asking import parse_asked, written
from distvae.attribute_values import Values, asked_values
from distvae.attributes import LABEL, Attribute, is_label, main_label
from distvae.errors import DistvaeError
from distvae.labels import Labels, label_index, label_indices, parse_labels
from distvae.terminal import say


def rows_of_text(text: str, attributes: Sequence[Attribute]) -> Values:
    """What --label asks for, a row for each label or combination ``[R, A]``.

    Raises:
        DistvaeError: something is unknown, or the model is given nothing.
    """
    if not attributes:
        raise DistvaeError(
            f"--label {text} does not fit this model", "it was trained without", "Leave it out."
        )
    if is_label(attributes):
        return np.array(parse_labels(text, attributes[0].labels), np.float32)[:, None]
    return parse_asked(text, attributes).rows


def rows_of_labels(labels: Labels | None, attributes: Sequence[Attribute]) -> Values | None:
    """What Python asks for ``[R, A]``; None of a model that is given nothing.

    Args:
        labels: as :func:`distvae.labels.label_indices` takes them, or of several attributes a
            mapping from their names; rows ``[R, A]`` stay as they are. None asks for the first
            label of each attribute, and for numbers at their mean.
        attributes: of the model.

    Raises:
        DistvaeError: something is unknown, or the model is given nothing.
    """
    if not attributes:
        if labels is not None:
            raise DistvaeError(
                "labels were given to a model without", "it was trained without", "Leave them out."
            )
        return None
    if isinstance(labels, np.ndarray) and labels.ndim == 2:
        return labels
    if labels is None:
        return np.array([[0.0 if each.labels else each.mean for each in attributes]], np.float32)
    if isinstance(labels, Mapping):
        return asked_values(labels, attributes)
    if not is_label(attributes):
        names = ", ".join(each.name for each in attributes)
        raise DistvaeError(f"labels are {labels!r}", f"expected a mapping from {names}")
    return label_indices(labels, attributes[0].labels).astype(np.float32)[:, None]


def given_or_first(label: str | None, attributes: Sequence[Attribute], what: str) -> Values | None:
    """What --label asks for ``[R, A]``, or else the first label, which is said.

    Args:
        label: as a command line writes it.
        attributes: of the model.
        what: is given it.

    Raises:
        DistvaeError: something is unknown, or the model is given nothing.
    """
    if label is not None:
        return rows_of_text(label, attributes)
    values = rows_of_labels(None, attributes)
    if values is not None:
        say(f"the {what} are given {words_of(values, attributes)}: --label names another")
    return values


def row_of(given: Values | None, number: int, count: int) -> Values | None:
    """What one example of so many is given ``[1, A]``.

    Raises:
        DistvaeError: there are neither one for all nor one for each.
    """
    if given is not None and len(given) not in (1, count):
        raise DistvaeError(
            f"there are {len(given)} labels", f"expected one for all, or one for each of {count:,}"
        )
    return given[number : number + 1] if given is not None and len(given) > 1 else given


def words_of(given: Values | None, attributes: Sequence[Attribute]) -> str:
    """What one example is given ``[1, A]``, in words; empty of a model that is given nothing."""
    if given is None:
        return ""
    words = written(np.asarray(given, np.float32), attributes)
    pairs = zip(attributes, words, strict=True)
    return ", ".join(f"{each.name} {word[0]}" for each, word in pairs if word[0])


def matched(
    attributes: Sequence[Attribute], data: Sequence[Attribute], values: Values | None, count: int
) -> Values:
    """What the examples of some data are for a model ``[N, A]``, NaN where that is not known.

    Attributes and labels are matched by name. The one label of data stands for the first attribute
    with labels, whatever its name.

    Args:
        attributes: of the model.
        data: of the data.
        values: theirs ``[N, D]``; None where there are none.
        count: N.
    """
    result = np.full((count, len(attributes)), np.nan, np.float32)
    if values is None:
        return result
    places = {each.name: place for place, each in enumerate(data)}
    for place, each in enumerate(attributes):
        found = places.get(each.name)
        if found is None and place == main_label(attributes) and [*places] == [LABEL]:
            found = 0
        if found is None and is_label(attributes):
            found = main_label(data)
        if found is not None:
            result[:, place] = _column(each, data[found], values[:, found])
    return result


def _column(wanted: Attribute, found: Attribute, column: Values) -> Values:
    """Values of one attribute ``[N]`` as the model has them."""
    if not wanted.labels and not found.labels:
        return column
    known, places = np.unique(column[~np.isnan(column)], return_inverse=True)
    result = np.full(len(column), np.nan, np.float32)
    if len(known):
        words = [found.labels[int(value)] if found.labels else f"{value:g}" for value in known]
        result[~np.isnan(column)] = np.array([_value(word, wanted) for word in words])[places]
    return result


def _value(word: str, attribute: Attribute) -> float:
    """What a word is to the model; NaN where it does not know it."""
    try:
        return label_index(word, attribute.labels) if attribute.labels else float(word)
    except ValueError:  # of which DistvaeError is one
        return float("nan")
