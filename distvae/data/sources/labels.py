"""Labels as they are written become numbers and the names these stand for."""

import math
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distvae.data.sources.raw import UNLABELLED, Notes
from distvae.errors import DistvaeError, nearest
from distvae.labels import natural_order
from distvae.text import some

EXACT = 2.0**53
"""Above it floating-point numbers skip whole ones."""
Numbers = dict[str, NDArray[np.int64]]


class NoLabelsError(ValueError):
    """What was taken for labels cannot be any."""


def clean_names(names: Sequence[str], data: str) -> tuple[str, ...]:
    """Names of classes without white space around them, in one normal form of unicode.

    Raises:
        DistvaeError: two of them are the same then.
    """
    cleaned = tuple(map(clean_name, names))
    if broken := [name for name in names if not is_text(name)]:
        raise DistvaeError(
            f"the name of a label of {data} is not UTF-8: {broken[0]!r}",
            "expected text",
            "Rename it.",
        )
    if twice := [name for name, count in Counter(cleaned).items() if count > 1]:
        alike = [repr(name) for name in names if clean_name(name) == twice[0]]
        raise DistvaeError(
            f"two labels of {data} are both called {twice[0]!r}",
            f"they are written {', '.join(alike)}",
            "Give each a name of its own.",
        )
    return cleaned


def from_numbers(
    numbers: Mapping[str, Iterable[Any]], names: tuple[str, ...], column: str, data: str
) -> Numbers:
    """Labels that are numbers of names already, by split; none and -1 are missing ones.

    Raises:
        DistvaeError: one is out of range.
    """
    result: Numbers = {}
    for split, values in numbers.items():
        filled = [UNLABELLED if value is None else value for value in values]
        result[split] = np.array(filled, np.int64).reshape(-1)
        wrong = np.flatnonzero((result[split] < UNLABELLED) | (result[split] >= len(names)))
        if len(wrong):
            raise DistvaeError(
                f"label {result[split][wrong[0]]} in row {wrong[0]} of split {split} of {data}",
                f"{column} knows 0..{len(names) - 1} ({some(names)})",
                "Mend it, or choose other splits by --split-train and --split-test.",
            )
    return result


def from_values(
    values: Mapping[str, Iterable[Any]], column: str, data: str, notes: Notes
) -> tuple[Numbers, tuple[str, ...]]:
    """The labels of each split, int64 [N], as places among their distinct values in natural order.

    Values are text or numbers; nothing, NaN and empty text are missing labels. The first split
    says which labels there are.

    Raises:
        NoLabelsError: some are fractions or lists.
        DistvaeError: a split has labels that the first has not.
    """
    plain = {split: [_plain(value) for value in found] for split, found in values.items()}
    if any(isinstance(value, str) for found in plain.values() for value in found):
        plain = {
            split: [value if value is None else str(value) for value in found]
            for split, found in plain.items()
        }
    trimmed = {
        repr(entry)
        for split, found in values.items()
        for entry, value in zip(found, plain[split], strict=True)
        if isinstance(entry, str) and value is not None and entry != value
    }
    if trimmed:
        notes.append(f"labels are trimmed: {some(sorted(trimmed))} in {column}")
    first = next(iter(plain))
    known = _distinct(plain[first])
    index = {None: UNLABELLED, **{value: number for number, value in enumerate(known)}}
    for split, found in plain.items():
        if unknown := [value for value in _distinct(found) if value not in index]:
            raise DistvaeError(
                f"split {split} of {data} has labels that split {first} has not: {some(unknown)}",
                f"{column} in {first} is one of {some(known)}",
                nearest(str(unknown[0]), map(str, known))
                or "Choose other splits by --split-train and --split-test.",
            )
    numbers = {
        split: np.array([index[value] for value in found], np.int64)
        for split, found in plain.items()
    }
    return numbers, tuple(map(str, known))


def from_one_hot(rows: NDArray[Any]) -> NDArray[np.int64]:
    """Places of the ones in rows that hold one 1 and else 0, ``[N, K]`` to ``[N]``.

    Raises:
        NoLabelsError: they hold something else.
    """
    if not (np.isin(rows, (0, 1)).all() and (rows.sum(axis=1) == 1).all()):
        raise NoLabelsError(f"rows of {rows.shape[1]} numbers are no one-hot labels")
    places: NDArray[np.int64] = rows.argmax(axis=1)
    return places


def missing_labels(labels: Mapping[str, NDArray[np.int64] | None], sample: bool) -> Notes:
    """What is said of missing labels; of training images there may be no more than a ``sample``."""
    notes = []
    for split, found in labels.items():
        if found is not None and (missing := int((found == UNLABELLED).sum())):
            of = "a sample of " if sample and split == "train" else ""
            notes.append(f"{missing:,} of {len(found):,} images of {of}{split}")
    return [f"without a label: {', '.join(notes)}"] if notes else []


def _plain(value: Any) -> Any:
    """One label as a whole number, trimmed text or None."""
    if isinstance(value, str):
        return clean_name(value) or None
    if isinstance(value, bytes):
        try:
            return clean_name(value.decode()) or None
        except UnicodeDecodeError as error:
            raise NoLabelsError(f"{value!r} is not UTF-8") from error
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, float):
        if not value.is_integer():
            raise NoLabelsError(f"{value:g} is no whole number")
        if abs(value) > EXACT:
            raise NoLabelsError(f"numbers as large as {value:g} are not told apart; write text")
        return int(value)
    if not isinstance(value, int):
        raise NoLabelsError(f"a {type(value).__name__} is neither a whole number nor text")
    return value


def is_text(name: str) -> bool:
    """Whether a name, perhaps of a file, can be written as UTF-8."""
    return not any("\ud800" <= sign <= "\udfff" for sign in name)


def clean_name(name: str) -> str:
    """Without white space around it, in one normal form of unicode."""
    return unicodedata.normalize("NFC", name.strip())


def _distinct(values: Iterable[Any]) -> list[Any]:
    """The distinct values that are there: numbers by value, text as people count."""
    found = set(values) - {None}
    text = any(isinstance(value, str) for value in found)
    return sorted(found, key=natural_order if text else None)
