"""What every source of images gives: both splits, encoded, with checked labels."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from distvae.attributes import Attribute
from distvae.data.factors import Factor
from distvae.data.roots import Root
from distvae.declarations import declared

UNLABELLED = -1
"""Stands for a label that is missing."""
Notes = list[str]
"""What was recognized, chosen, skipped or changed on the way, one plain sentence each.

Whoever decides something about a person's data says so here; it is told once, by ``inspect`` and
at the start of a run."""


def domains_of_numbers() -> list[str]:
    """Names of the domains whose examples are numbers as a source has them, and no pictures."""
    parts: dict[str, Any] = {name: one.part for name, one in declared("domain").items()}
    return [name for name, part in parts.items() if part.material == "numbers"]


@dataclass(frozen=True, eq=False)
class RawSplit:
    """One split before decoding: the ``rows`` int64 [N] that ``fetch`` reads, and labels [N].

    Labels are int64, :data:`UNLABELLED` where one is missing, or None where all are.
    """

    name: str
    rows: NDArray[np.int64]
    labels: NDArray[np.int64] | None
    fetch: Callable[[NDArray[np.int64]], Sequence[Any]]
    decode: Callable[[Any, int | None], Any]
    levels: int | None = None
    """How many levels values stand for, where it is settled which are black and white; --white was
    then applied."""
    attributes: NDArray[np.float32] | None = None
    """Where examples are given something else than one label: values ``[N, A]``, NaN where one is
    not known; ``labels`` are then those of the first attribute that has some."""
    names: Callable[[NDArray[np.int64]], Sequence[str]] | None = None
    """The files of some ``rows``, as the source names them; None where there are none."""
    view: tuple[int, ...] | None = None
    """Where examples are whole volumes, of which a model sees views ``[C, *S]``: the shape of a
    view. None: examples are as large as what a model sees."""
    beside: Callable[[NDArray[np.int64]], Mapping[str, Sequence[Any]]] | None = None
    """Cells of other columns of some ``rows``, by name; None where there are none."""

    def known(self, rows: bool) -> dict[str, NDArray[Any] | None]:
        """What is known of the examples besides: attributes or labels, and their rows if asked."""
        return {
            "labels": self.labels if self.attributes is None else None,
            "attributes": self.attributes,
            "rows": self.rows if rows else None,
        }

    def where(self, row: int, encoded: Any) -> str:
        """How to name one image in a message: its file, else its row and split."""
        path = encoded.get("path") if isinstance(encoded, dict) else None
        place = f"row {row} of split {self.name}"
        return f"{path} ({place})" if path else f"the image in {place}"


@dataclass(frozen=True, eq=False)
class RawData:
    """Both splits of a source; ``label_names`` is empty where the images have no labels.

    ``factors`` are those of the grid that the splits' rows number, where there is one; ``notes``
    say what was decided on the way.
    """

    train: RawSplit
    test: RawSplit
    test_origin: str
    label_names: tuple[str, ...]
    factors: tuple[Factor, ...] = ()
    notes: tuple[str, ...] = ()
    validation: RawSplit | None = None
    validation_origin: str = ""
    domain: str = "images"
    """What an example is: the name of a domain."""
    columns: tuple[str, ...] = ()
    """Names of the numbers of an example, where they have some; those of images have none."""
    attributes: tuple[Attribute, ...] = ()
    """What examples are given, where that is something else than one label."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What a domain is told of the examples besides, by the names of its fields."""

    @property
    def splits(self) -> dict[str, RawSplit]:
        """The splits that are there, by what they are for."""
        found = {"train": self.train, "test": self.test}
        return found if self.validation is None else {**found, "validation": self.validation}


class Tables(NamedTuple):
    """What ``datasets`` knows of some images by split: tables, or streams where so configured.

    Images that are files lie in ``root``; None takes their paths as they are.
    """

    splits: Mapping[str, Any]
    notes: Notes
    root: Root | None


@dataclass(frozen=True)
class Source:
    """Where images come from; two sources with the same identity hold the same images.

    ``tables`` is None where the images are no tables.
    """

    name: str
    address: str
    identity: str
    read: Callable[[], RawData]
    tables: Callable[[], Tables | None] | None = None
