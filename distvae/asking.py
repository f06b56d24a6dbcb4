"""What is asked for of several attributes: by name in Python, in one text on a command line.

Needs numpy only. Values are float32: the index of a label or a number, NaN for what is not known.

Legend: N images, R rows of what is asked for, A attributes.
"""

import itertools
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from distvae.attribute_values import Given, Values, finite_numbers, not_known
from distvae.attributes import Attribute, example_of
from distvae.errors import DistvaeError, nearest
from distvae.labels import (
    entries,
    is_known,
    label_index,
    range_of,
)
from distvae.text import in_list, shortened

MOST = 100_000
"""Rows."""


@dataclass(frozen=True, eq=False)
class Asked:
    """Rows of what is asked for, so many images of each."""

    attributes: tuple[Attribute, ...]
    rows: Values
    """``[R, A]``."""
    names: tuple[str, ...]
    """What each row is called, such as ``digit=7,colour=red``."""
    in_turn: tuple[int, ...] = ()
    """Attributes with labels, by place, that go round within a row, the last one fastest."""
    notes: tuple[str, ...] = ()
    """What was guessed."""

    def given(self, count: int) -> Given:
        """What each image is given, where there are ``count`` of each row."""

        def values(images: NDArray[np.int64]) -> Values:
            result, turn = self.rows[images // count], images % count
            for place in reversed(self.in_turn):
                turn, result[:, place] = np.divmod(turn, len(self.attributes[place].labels))
            return result

        return values


def usual_rows(attributes: Sequence[Attribute], most: int | None = None) -> Asked:
    """What is drawn where nothing is asked for: a row for each label of the first attribute.

    The labels of the others go round within a row, and numbers are at their mean.

    Args:
        attributes: of the model.
        most: rows; left out, any number.
    """
    means = [np.float32(0 if each.labels else each.mean) for each in attributes]
    labelled = [place for place, each in enumerate(attributes) if each.labels]
    if not labelled:
        return Asked(tuple(attributes), np.array([means]), ("",))
    first, *others = labelled
    labels = attributes[first].labels[:most]
    rows = np.tile(np.array(means, np.float32), (len(labels), 1))
    rows[:, first] = np.arange(len(labels))
    names = tuple(f"{attributes[first].name}={label}" for label in labels)
    return Asked(tuple(attributes), rows, names, tuple(others))


def parse_asked(text: str, attributes: Sequence[Attribute]) -> Asked:
    """What a command line asks for: ``digit=7,colour=red``, ``digit=0-9,colour=red,blue``.

    What stands before a ``=`` is the name of an attribute, what follows its value, or a list of
    values. Labels are written as :func:`distvae.labels.parse_labels` has them, in a list and with
    ranges; a number is one. Every combination is a row; an attribute that is left out is not known.
    A value without a name is that of the one attribute that knows it.

    Raises:
        DistvaeError: an unknown attribute or value, one that several attributes know, or an
            attribute left out that no example lacked.
    """
    found: dict[str, list[float]] = {}
    notes: list[str] = []
    current: Attribute | None = None
    for entry, quoted in entries(text):
        named = _named(entry, quoted, attributes)
        if named is not None:
            current, entry = named
            if current.name in found:
                raise DistvaeError(
                    f"--label {text} names {current.name} twice",
                    "expected each attribute once",
                    f"List its values: {current.name}=A,B.",
                )
        attribute = current
        if attribute is None:
            attribute = _who_knows(entry, attributes)
            if len(attributes) > 1:
                notes.append(f"label {entry} is taken as {attribute.name}={entry}")
        found.setdefault(attribute.name, []).extend(_values_in(entry, quoted, attribute))
    columns = [found.get(each.name) or [not_known(each)] for each in attributes]
    count = np.prod([len(column) for column in columns], dtype=float)
    if count > MOST:
        raise DistvaeError(
            f"--label {shortened(text)} asks for {count:,.0f} combinations",
            f"expected at most {MOST:,}",
            "Ask for fewer.",
        )
    rows = np.array(list(itertools.product(*columns)), np.float32).reshape(-1, len(attributes))
    names = tuple(map(", ".join, (_cells(row, attributes) for row in rows)))
    return Asked(tuple(attributes), rows, names, notes=tuple(dict.fromkeys(notes)))


def _cells(row: Values, attributes: Sequence[Attribute]) -> Iterator[str]:
    """``NAME=VALUE`` of what is known."""
    for each, value in zip(attributes, written(row[None], attributes), strict=True):
        if value[0] != "":
            yield f"{each.name}={value[0]}"


def written(values: Values, attributes: Sequence[Attribute]) -> list[list[str]]:
    """A list for each attribute, of its values ``[N]`` in words; nothing for what is not known."""
    result = []
    for each, column in zip(attributes, values.T, strict=True):
        words = each.labels
        result.append(
            [
                "" if np.isnan(value) else words[int(value)] if words else f"{value:.9g}"
                for value in column
            ]
        )
    return result


def example_flag(attributes: Sequence[Attribute]) -> str:
    """How a command line asks for what stands as an example, quoted for a shell."""
    asked = example_of(attributes)
    assert isinstance(asked, dict)
    parts = (  # quoted whole, as the script beside an export takes them too
        in_list(f"{name}={value}")
        if isinstance(value, str) and in_list(value) != value
        else f"{name}={value}"
        for name, value in asked.items()
    )
    return f"--label {shlex.quote(','.join(parts))}"


def _named(
    entry: str, quoted: bool, attributes: Sequence[Attribute]
) -> tuple[Attribute, str] | None:
    """The attribute that an entry names, and what follows; None of a bare value."""
    known = {each.name: each for each in attributes}
    cuts = [place for place, sign in enumerate(entry) if sign == "="]
    for place in cuts:
        if found := known.get(entry[:place].strip()):
            value = entry[place + 1 :]
            return found, value if quoted else value.strip()
    if cuts and not any(_knows(entry, each) for each in attributes):
        name = entry[: cuts[0]].strip()
        raise DistvaeError(
            f"attribute {shortened(name)} is not in this model",
            f"it is given {', '.join(known)}",
            nearest(name, known),
        )
    return None


def _who_knows(entry: str, attributes: Sequence[Attribute]) -> Attribute:
    """The one attribute that knows a bare value."""
    labelled = [each for each in attributes if each.labels and _knows(entry, each)]
    found = labelled or [each for each in attributes if not each.labels and _knows(entry, each)]
    if len(found) == 1:
        return found[0]
    if not found and len(attributes) == 1:
        return attributes[0]  # which says what it knows
    names = [each.name for each in found or attributes]
    raise DistvaeError(
        f"label {shortened(entry)} is that of {' and '.join(names)}"
        if found
        else f"label {shortened(entry)} is not in this model",
        f"this model is given {', '.join(each.name for each in attributes)}",
        f"Say which: {' or '.join(f'{name}={entry if found else chr(8230)}' for name in names)}",
    )


def _knows(entry: str, attribute: Attribute) -> bool:
    try:
        return bool(_values_in(entry, False, attribute))
    except DistvaeError:
        return False


def _values_in(entry: str, quoted: bool, attribute: Attribute) -> list[float]:
    """The values of one entry of a list."""
    if not attribute.labels:
        return [float(finite_numbers(entry, attribute)[0])]
    names = attribute.labels
    try:
        if quoted or is_known(entry, names):
            return [label_index(entry, names)]
        return list(map(float, range_of(entry, names)))
    except DistvaeError as error:
        raise DistvaeError(
            f"{attribute.name}: {error.thing}", error.expected, error.next_step
        ) from error
