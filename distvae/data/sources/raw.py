"""What every source of images gives: both splits, encoded, with checked labels."""

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distvae.config import DataConfig
from distvae.data.factors import Factor
from distvae.data.order import HELD_OUT, permutation
from distvae.errors import DistvaeError, NoSplitError, nearest

TEST_SPLITS = ("test", "validation", "valid", "val")


@dataclass(frozen=True, eq=False)
class RawSplit:
    """One split before decoding: the ``rows`` int64 [N] that ``fetch`` reads, and labels [N]."""

    name: str
    rows: NDArray[np.int64]
    labels: NDArray[np.int64] | None
    fetch: Callable[[NDArray[np.int64]], Sequence[Any]]
    decode: Callable[[Any], Any]

    def where(self, row: int, encoded: Any) -> str:
        """How to name one image in a message: its file, else its row and split."""
        path = encoded.get("path") if isinstance(encoded, dict) else None
        place = f"row {row} of split {self.name}"
        return f"{path} ({place})" if path else f"the image in {place}"


@dataclass(frozen=True, eq=False)
class RawData:
    """Both splits of a source; ``label_names`` is empty where the images have no labels.

    ``factors`` are those of the grid that the splits' rows number, where there is one.
    """

    train: RawSplit
    test: RawSplit
    test_origin: str
    label_names: tuple[str, ...]
    factors: tuple[Factor, ...] = ()
    validation: RawSplit | None = None
    validation_origin: str = ""


@dataclass(frozen=True)
class Source:
    """Where images come from; two sources with the same identity hold the same images.

    ``tables`` gives what ``datasets`` knows of them by split, tables or streams as configured; the
    image paths in them are relative to ``root``.
    """

    name: str
    address: str
    identity: str
    read: Callable[[], RawData]
    tables: Callable[[], Mapping[str, Any]] | None = None
    root: Path | None = None


def choose_splits(config: DataConfig, names: Collection[str]) -> tuple[str, str | None]:
    """The names of the train and of the test split; None where one must be held out.

    Raises:
        DistvaeError: a configured split is not among the names.
    """
    wishes = {"--split-train": config.split_train, "--split-test": config.split_test}
    for flag, wanted in wishes.items():
        if wanted is not None and wanted not in names:
            raise NoSplitError(
                f"{flag} {wanted}: {config.data} has no such split",
                f"its splits are {', '.join(names)}",
                nearest(wanted, names),
            )
    usual = (name for name in TEST_SPLITS if name in names and name != config.split_train)
    return config.split_train, config.split_test or next(usual, None)


def hold_out(split: RawSplit, seed: int) -> tuple[RawSplit, RawSplit]:
    """The split without a tenth of its rows, and that tenth: a pure function of seed and size.

    Raises:
        DistvaeError: the split is too small to be divided.
    """
    if len(split.rows) < 2:
        raise DistvaeError(
            f"split {split.name} has {len(split.rows)} image",
            "at least 2 are needed to hold out a test split",
            "Name a test split by --split-test, or add images.",
        )
    order = permutation(len(split.rows), seed, HELD_OUT)
    count = max(1, len(order) // 10)
    train, test = (
        dataclasses.replace(
            split,
            rows=split.rows[rows],
            labels=None if split.labels is None else split.labels[rows],
        )
        for rows in (np.sort(order[count:]), np.sort(order[:count]))
    )
    return train, test


def finish(
    config: DataConfig,
    train: RawSplit,
    test: RawSplit | None,
    label_names: tuple[str, ...],
    factors: tuple[Factor, ...] = (),
) -> RawData:
    """Both splits, of which a test split that is not there is held out of the other."""
    if test is not None:
        return RawData(train, test, test.name, label_names, factors)
    origin = f"held-out tenth of {train.name}, seed {config.split_seed}"
    return RawData(*hold_out(train, config.split_seed), origin, label_names, factors)
