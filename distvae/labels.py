"""Labels by name, by number and by range."""

import re
from collections.abc import Sequence

from distvae.errors import DistvaeError, nearest


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


def label_index(label: int | str, names: Sequence[str]) -> int:
    """Index of a label given by name (``"shirt"``) or by number (``7``, ``"7"``).

    A name is looked for first, so a class that is called ``"5"`` is found by its name.

    Raises:
        DistvaeError: no such label.
    """
    if isinstance(label, str) and label in names:
        return list(names).index(label)
    try:
        index = int(str(label))  # a float is no label
    except ValueError:
        index = -1
    if 0 <= index < len(names):
        return index
    if not names:
        raise DistvaeError(
            f"label {label} is not in this model", "it was trained without labels", "Leave it out."
        )
    shown = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
    raise DistvaeError(
        f"label {label} is not in this model",
        f"it knows 0..{len(names) - 1} ({shown})",
        nearest(str(label), names),
    )


def parse_labels(text: str, names: Sequence[str]) -> list[int]:
    """Indices of a list such as ``7``, ``0-9``, ``3,1,4`` or ``shirt,0-2``, in the order given.

    >>> parse_labels("2,0-1", ["a", "b", "c"])
    [2, 0, 1]
    """
    indices: list[int] = []
    for part in (part.strip() for part in text.split(",")):
        first, dash, last = part.partition("-")
        if part not in names and dash and first and last:
            low, high = label_index(first, names), label_index(last, names)
            if low > high:
                raise DistvaeError(f"label range {part} is empty", "expected LOW-HIGH")
            indices.extend(range(low, high + 1))
        else:
            indices.append(label_index(part, names))
    return indices
