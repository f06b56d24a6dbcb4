"""Examples of any source, as a model takes them, read block by block when they are asked for.

Legend: B examples read together, N examples, S the axes of an example, A attributes of the model,
D attributes of the data.
"""

import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from distvae.attribute_values import Values
from distvae.attributes import Attribute
from distvae.data.sources.attributes import labels_of
from distvae.domains import Domain
from distvae.errors import DistvaeError
from distvae.tools.given import matched
from distvae.tools.pieces import Piece

UNREAD = "cannot read "
"""How it is told what could not be read."""
BLOCK = 500
"""Examples read together."""


class Part(NamedTuple):
    """Some examples, as they are stored."""

    stored: NDArray[Any]
    """``[B, *S]``."""
    labels: NDArray[np.int64] | None
    """Among ``Examples.label_names`` ``[B]``, -1 where one is not known; None without."""
    given: Values | None
    """What the model is given ``[B, A]``, NaN where that is not known; None of an unconditional
    model."""
    rows: NDArray[np.int64]
    """Their numbers among all ``[B]``; those are missing that could not be read."""
    asked: slice
    """The numbers that were asked for."""


@dataclass(frozen=True, eq=False)
class Examples:
    """What a tool looks at."""

    name: str
    """For people."""
    domain: Domain
    """The model's."""
    attributes: tuple[Attribute, ...]
    """What the model is given."""
    data: tuple[Attribute, ...]
    """What the data say of each example."""
    pieces: tuple[Piece, ...]
    notes: tuple[str, ...] = ()
    """What was recognized, chosen or changed."""
    fixed: Values | None = None
    """What was asked for in place of what the data say: for all ``[1, A]``, or each ``[N, A]``."""
    identity: str = ""
    """The same for the same examples in the same order; empty of what Python gave."""

    def __len__(self) -> int:
        """How many there are, also of those that turn out to be unreadable."""
        return sum(piece.count for piece in self.pieces)

    @property
    def label_names(self) -> tuple[str, ...]:
        """Of the data's labels; empty where there are none."""
        named = [each.labels for each in self.data if each.labels]
        return named[0] if named else ()

    @functools.cached_property
    def labels(self) -> NDArray[np.int64]:
        """Of all examples ``[N]``, -1 where one is not known."""
        found = [_labels(piece, self.data) for piece in self.pieces]
        return np.concatenate(found) if found else np.empty(0, np.int64)

    def values(self, rows: NDArray[np.int64]) -> Values | None:
        """What the data say of some examples, in ascending order ``[B, D]``; None of nothing."""
        if not self.data:
            return None
        found = [(_values(piece, self.data), own) for piece, own in self._by_piece(rows)]
        nothing = [np.full((len(own), len(self.data)), np.nan, np.float32) for _, own in found]
        parts = [
            none if values is None else values[own]
            for (values, own), none in zip(found, nothing, strict=True)
        ]
        return np.concatenate(parts) if parts else None

    @functools.cached_property
    def splits(self) -> tuple[str, ...]:
        """The split of each example ``[N]``."""
        return tuple(piece.split for piece in self.pieces for _ in range(piece.count))

    @property
    def lost(self) -> list[str]:
        """What could not be read so far."""
        return [*dict.fromkeys(thing for piece in self.pieces for thing in piece.lost)]

    def given(self) -> Values | None:
        """What the model is given of all examples ``[N, A]``; None of an unconditional one."""
        if not self.attributes:
            return None
        if self.fixed is not None:
            return np.broadcast_to(self.fixed, (len(self), self.fixed.shape[1]))
        found = [
            matched(self.attributes, self.data, _values(piece, self.data), piece.count)
            for piece in self.pieces
        ]
        return np.concatenate(found) if found else np.empty((0, len(self.attributes)), np.float32)

    def parts(self, size: int = BLOCK, start: int = 0) -> Iterator[Part]:
        """All examples from one on, so many at once; no part reaches into two splits."""
        given, first = self.given(), 0
        for piece in self.pieces:
            for begin in range(max(0, start - first), piece.count, size):
                asked = slice(begin, min(begin + size, piece.count))
                yield self._part(piece, first, np.arange(asked.start, asked.stop), given)
            first += piece.count

    def at(self, rows: NDArray[np.int64]) -> Part:
        """Examples of any numbers, in the order of these."""
        order = np.argsort(rows, kind="stable")
        given, first, parts = self.given(), 0, []
        for piece in self.pieces:
            own = rows[order][(rows[order] >= first) & (rows[order] < first + piece.count)]
            if len(own):
                parts.append(self._part(piece, first, own - first, given))
            first += piece.count
        whole = joined(parts)
        place = {int(row): number for number, row in enumerate(whole.rows)}
        back = np.array([place[row] for row in rows.tolist() if row in place], np.int64)
        return Part(
            whole.stored[back],
            None if whole.labels is None else whole.labels[back],
            None if whole.given is None else whole.given[back],
            whole.rows[back],
            whole.asked,
        )

    def _part(
        self, piece: Piece, first: int, rows: NDArray[np.int64], given: Values | None
    ) -> Part:
        read = piece.read(rows)
        labels = _labels(piece, self.data) if self.label_names else None
        return Part(
            read.stored,
            None if labels is None else labels[read.rows],
            None if given is None else given[first + read.rows],
            first + read.rows,
            slice(first + int(rows[0]), first + int(rows[-1]) + 1),
        )

    def only(self, rows: NDArray[np.int64]) -> "Examples":
        """Some of them, in ascending order; those that cannot be read are told there."""
        pieces, first, given = [], 0, self.fixed
        for piece in self.pieces:
            own = rows[(rows >= first) & (rows < first + piece.count)] - first
            if len(own):
                pieces.append(piece.only(own))
            first += piece.count
        if given is not None and len(given) > 1:
            given = given[rows]
        return dataclasses.replace(self, pieces=tuple(pieces), fixed=given, identity="")

    def given_all(self, values: Values) -> "Examples":
        """The same, with what the model is given in place of what the data say ``[1, A]``."""
        return dataclasses.replace(self, fixed=values, identity="")

    def names(self, rows: NDArray[np.int64]) -> list[str]:
        """What examples are called: their files, else their numbers in their split."""
        result: list[str] = []
        for piece, own in self._by_piece(rows):
            several = len(self.pieces) > 1 and piece.names is None
            result += [f"{piece.split}/{name}" if several else name for name in piece.name_of(own)]
        return result

    def beside(self, rows: NDArray[np.int64]) -> dict[str, list[Any]]:
        """Cells of other columns of the source, by name; None in splits that have none."""
        found: list[tuple[int, Mapping[str, Sequence[Any]]]] = []
        for piece, own in self._by_piece(rows):
            found.append((len(own), piece.beside(own) if piece.beside else {}))
        names = dict.fromkeys(name for _, cells in found for name in cells)
        return {
            name: [cell for count, cells in found for cell in cells.get(name, [None] * count)]
            for name in names
        }

    def _by_piece(self, rows: NDArray[np.int64]) -> Iterator[tuple[Piece, NDArray[np.int64]]]:
        """Ascending numbers by piece, as that counts them."""
        first = 0
        for piece in self.pieces:
            own = rows[(rows >= first) & (rows < first + piece.count)]
            if len(own):
                yield piece, own - first
            first += piece.count

    def refuse_none(self) -> None:
        """End a command that has nothing to work on.

        Raises:
            DistvaeError: no example could be read.
        """
        if len(self.lost) >= len(self):
            self.refuse_lost("none is left")

    def refuse_lost(self, rest: str = "the others are done") -> None:
        """End a command of which the rest is done.

        Raises:
            DistvaeError: some examples could not be read.
        """
        if lost := [thing.removeprefix(UNREAD) for thing in self.lost]:
            raise DistvaeError(
                f"{len(lost):,} of {len(self):,} {self.domain.examples} of {self.name} could not "
                "be read",
                f"{', '.join(lost[:3])}{', ...' if len(lost) > 3 else ''}; {rest}",
                "Repair or remove them.",
            )


def joined(parts: Sequence[Part]) -> Part:
    """Parts one after another, at least one."""

    def whole(arrays: Sequence[NDArray[Any] | None]) -> Any:
        return None if arrays[0] is None else np.concatenate([*arrays])

    return Part(
        whole([part.stored for part in parts]),
        whole([part.labels for part in parts]),
        whole([part.given for part in parts]),
        whole([part.rows for part in parts]),
        slice(parts[0].asked.start, parts[-1].asked.stop),
    )


def _values(piece: Piece, data: Sequence[Attribute]) -> Values | None:
    """What the data say of a piece's examples ``[N, D]``."""
    if piece.values is not None or piece.labels is None or not data:
        return piece.values
    return np.where(piece.labels < 0, np.nan, piece.labels).astype(np.float32)[:, None]


def _labels(piece: Piece, data: Sequence[Attribute]) -> NDArray[np.int64]:
    found = piece.labels
    if piece.values is not None:
        found = labels_of(data, piece.values)
    return np.full(piece.count, -1) if found is None else found
