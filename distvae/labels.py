"""Labels by name, by number and by range. Needs numpy only.

A label has a name and an index, its place among the names of its model. Whoever asks for one gives
a name or a number. Where all names are whole numbers, a number is a name: of classes 1 to 10,
number 10 is the class called 10. Elsewhere a number is an index.
"""

import functools
import re
import shlex
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from distvae.errors import DistvaeError, nearest
from distvae.text import printable, shortened

Label = int | str | np.integer[Any]
"""A name or a number."""
Labels = Any
"""One label or several: a list, tuple or range, a tensor, or what numpy and pandas have."""
_WHOLE = re.compile(r"-?[0-9]{1,18}")
_FIELD = re.compile(r'\s*([^",=]*=)?\s*"((?:[^"]|"")*)"\s*(?:,|$)|([^,]*)(?:,|$)')
"""One entry of a list, quoted or not, up to the comma that ends it; what is named may be quoted."""
_SHOWN = 20


def natural_order(name: str) -> tuple[object, ...]:
    """Sorting key of class names, in which digits count as numbers.

    >>> sorted(["fold10", "10", "fold2", "2"], key=natural_order)
    ['2', '10', 'fold2', 'fold10']
    """
    pieces: list[object] = []
    for place, piece in enumerate(re.split("([0-9]+)", name)):  # text and digits take turns
        digits = piece.lstrip("0")
        pieces.append((len(digits), digits) if place % 2 else piece)
    return (pieces, name)


class _Known(NamedTuple):
    """Where the labels of a model are found."""

    by_name: dict[str, int]
    by_number: dict[int, int]
    numbers: NDArray[np.int64]
    """The number of each label, by index."""
    in_order: bool
    """Whether a number is its index."""


@functools.lru_cache(maxsize=16)
def _known(names: tuple[str, ...]) -> _Known:
    by_name = {name: index for index, name in enumerate(names)}
    numbers = list(range(len(names)))
    if all(map(_WHOLE.fullmatch, names)):
        values = [int(name) for name in names]
        if len(set(values)) == len(names):  # 1 and 01 are names, and no numbers
            numbers = values
    by_number = {number: index for index, number in enumerate(numbers)}
    in_order = numbers == list(range(len(names)))
    return _Known(by_name, by_number, np.array(numbers, np.int64), in_order)


def numbers_of(names: Sequence[str]) -> NDArray[np.int64]:
    """The number by which each label is asked for, int64, by index."""
    return _known(tuple(names)).numbers


def refuse_twins(names: Sequence[str], origin: str) -> None:
    """Refuse names of labels of which two are the same.

    Args:
        names: in the order of their indices.
        origin: where they stand, for the message.

    Raises:
        DistvaeError: a name stands there twice.
    """
    if len(set(names)) == len(names):
        return
    seen: dict[str, int] = {}
    for index, name in enumerate(names):
        if seen.setdefault(name, index) != index:
            raise DistvaeError(
                f"two labels of {origin} are called {name!r}",
                f"labels {seen[name]} and {index} need names of their own",
                "Rename one, or give both classes one label.",
            )


def label_index(label: object, names: Sequence[str]) -> int:
    """Index of one label.

    Args:
        label: a name (``"shirt"``), or a number (``7``, ``"7"``). A name is looked for first, so a
            class that is called ``"5"`` is found by its name.
        names: of the model's labels, by index.

    Raises:
        DistvaeError: no such label, or neither a name nor a whole number.
    """
    known = _known(tuple(names))
    if isinstance(label, str):
        result = known.by_name.get(label)
        if result is None and _WHOLE.fullmatch(label):
            result = known.by_number.get(int(label))
        if result is None and names:
            result = _in_another_form(label, names)
    elif isinstance(label, int | np.integer) and not isinstance(label, bool):
        result = known.by_number.get(int(label))
    else:
        raise DistvaeError(
            f"label {_shown(label)} is no label", "expected a whole number or a name"
        )
    if result is not None:
        return result
    asked = shortened(str(label)) if str(label).strip() else repr(label)
    if not names:
        raise DistvaeError(
            f"label {asked} is not in this model", "it was trained without labels", "Leave it out."
        )
    shown = ", ".join(map(shortened, names[:_SHOWN])) + (", ..." if len(names) > _SHOWN else "")
    numbered = f"0..{len(names) - 1} ({shown})" if known.in_order else shown
    hint = nearest(asked, names)
    if not isinstance(label, str) and str(label) in known.by_name:
        hint = f"As a name it is text: '{label}'."
    raise DistvaeError(f"label {asked} is not in this model", f"it knows {numbered}", hint)


def label_indices(labels: Labels, names: Sequence[str]) -> NDArray[np.int64]:
    """Indices of one label or several, int64 ``[N]``, in the order given.

    Args:
        labels: one name or number, or a list, tuple, range, tensor of whole numbers, numpy array,
            pandas Series, Index or Categorical of them.
        names: of the model's labels, by index.

    Raises:
        DistvaeError: no such label, or something else than names and whole numbers.
    """
    if is_one(labels):
        return np.array([label_index(_plain(labels), names)], np.int64)
    if isinstance(labels, bytes | Mapping | Set) or not isinstance(labels, Iterable):
        raise DistvaeError(
            f"labels are {_shown(labels)}",
            "expected a name, a whole number, or a list, tensor or array of them",
        )
    if (sides := getattr(labels, "ndim", 1)) > 1:
        raise DistvaeError(
            f"labels have {sides} dimensions",
            "expected one label for each image in one dimension",
            "Of one-hot rows take the number of the one: labels.argmax(1)",
        )
    listed = labels.tolist() if hasattr(labels, "tolist") else list(labels)
    known = _known(tuple(names))
    tables: dict[type, Mapping[Any, int]] = {int: known.by_number, str: known.by_name}
    found = [tables[type(each)].get(each) if type(each) in tables else None for each in listed]
    return np.array(
        [
            label_index(_plain(label), names) if index is None else index
            for index, label in zip(found, listed, strict=True)
        ],
        np.int64,
    )


def is_one(labels: Labels) -> bool:
    """Whether this is one label, and no list of one."""
    return isinstance(labels, str | int | float) or getattr(labels, "ndim", None) == 0


def numbers_are_indices(names: Sequence[str]) -> bool:
    """Whether every number stands for the label of this index."""
    return _known(tuple(names)).in_order


def parse_labels(text: str, names: Sequence[str]) -> list[int]:
    """Indices of labels as they are written on a command line, in the order given.

    A text that is a name is that label. Any other is a list of names, numbers and ranges, such as
    ``7``, ``0-9``, ``3,1,4`` or ``shirt,0-2``. A name that holds a comma, or looks like a range, or
    begins or ends with a space, stands in a list in double quotes, and a double quote in it twice:
    ``"a,b",c``. A range holds the labels between its ends: by number where names are numbers, by
    index elsewhere.

    >>> parse_labels("2,0-1", ["a", "b", "c"])
    [2, 0, 1]
    >>> parse_labels("10-30", ["7", "10", "20", "30"])
    [1, 2, 3]

    Raises:
        DistvaeError: an unknown label, an empty range, or one that can be read in two ways.
    """
    if text in names:
        return [label_index(text, names)]
    indices: list[int] = []
    for entry, quoted in entries(text):
        if quoted or entry in names:
            indices.append(label_index(entry, names))
        else:
            indices.extend(range_of(entry, names))
    return indices


def label_flag(name: str) -> str:
    """How a command line asks for the label of this name, quoted for a shell."""
    return f"--label{'=' if name.startswith('-') else ' '}{shlex.quote(name)}"


def entries(text: str) -> Iterator[tuple[str, bool]]:
    """What stands between commas, and whether it was quoted."""
    place, ended = 0, False
    while not ended:
        match = _FIELD.match(text, place)
        assert match is not None  # its last part matches anything
        head, quoted, bare = match.groups()
        if quoted is None:
            yield bare.strip(), False
        else:
            yield (head or "") + quoted.replace('""', '"'), True
        place, ended = match.end(), not match.group().endswith(",")


def range_of(entry: str, names: Sequence[str]) -> list[int]:
    """The labels of a range, or the one that is no range."""
    dashes = [place for place, sign in enumerate(entry) if sign == "-" and entry[place + 1 :]]
    ends = [(entry[:place].strip(), entry[place + 1 :].strip()) for place in dashes if place]
    whole = [pair for pair in ends if all(is_known(end, names) for end in pair)]
    if is_known(entry, names) or not ends:
        return [label_index(entry, names)]
    if len(whole) > 1:
        raise DistvaeError(
            f"label range {entry} can be read in {len(whole)} ways",
            " or ".join(f'from "{low}" to "{high}"' for low, high in whole),
            "List its labels, names in double quotes.",
        )
    first, last = (label_index(end, names) for end in (whole or ends)[0])
    known = _known(tuple(names))
    low, high = known.numbers[first], known.numbers[last]
    if low > high:
        raise DistvaeError(f"label range {entry} is empty", "expected LOW-HIGH")
    within = sorted(number for number in known.by_number if low <= number <= high)
    return [known.by_number[number] for number in within]


def is_known(label: str, names: Sequence[str]) -> bool:
    """Whether it is the name or the number of a label."""
    try:
        label_index(label, names)
    except DistvaeError:
        return False
    return True


def _in_another_form(label: str, names: Sequence[str]) -> int | None:
    """The one name that differs in the form of its accents, or is shown so by a terminal.

    A file system may have chosen the first; control characters are told as escapes.
    """
    wanted = unicodedata.normalize("NFC", label)
    for form in (lambda name: unicodedata.normalize("NFC", name), printable):
        found = [index for index, name in enumerate(names) if form(name) == wanted]
        if found:
            return found[0] if len(found) == 1 else None
    return None


def _plain(label: object) -> object:
    """What Python has for a scalar of numpy, or for an array or tensor of no dimension."""
    return label.item() if getattr(label, "ndim", None) == 0 else label  # type: ignore[attr-defined]


def _shown(value: object) -> str:
    """A value, for a message: short, with its type."""
    return f"{shortened(repr(value))} ({type(value).__name__})"
