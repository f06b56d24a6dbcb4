"""How well labels are told from latents, on examples that the classifiers were not fitted to.

Legend: N examples, Z latents.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from distvae.draws.order import permutation
from distvae.draws.philox import Stream
from distvae.places import evenly
from distvae.text import counted

FOLDS = 5
MOST = 20_000
"""Examples, taken evenly."""
Split = tuple[NDArray[np.int64], NDArray[np.int64]]


class Probed(NamedTuple):
    """Shares of examples whose label is told rightly."""

    linear: float
    """By a logistic regression on standardized latents."""
    neighbours: float
    """By a vote of the 10 nearest."""
    told: int
    """Examples whose label was told."""
    chance: float
    """The share of the label that is most frequent."""
    how: str
    """What was fitted to what."""

    @property
    def line(self) -> str:
        """A line for people, with binomial standard errors."""
        linear, near = (self._share(share) for share in (self.linear, self.neighbours))
        return (
            f"labels told from the latents: linear probe {linear}, 10 nearest neighbours {near}, "
            f"the most frequent label {100 * self.chance:.2f} % ({self.how})"
        )

    def _share(self, share: float) -> str:
        error = math.sqrt(share * (1.0 - share) / self.told)
        return f"{100 * share:.2f} ± {100 * error:.2f} %"


def probe(
    codes: NDArray[np.floating],
    labels: NDArray[np.int64],
    splits: NDArray[np.str_] | None = None,
    seed: int = 0,
) -> Probed | None:
    """Accuracy of a linear probe and of nearest neighbours.

    Where there are a training and a test split, classifiers are fitted to the one and tell the
    other; else each of five parts is told by what was fitted to the other four.

    Args:
        codes: ``[N, Z]``.
        labels: ``[N]``, -1 where one is not known.
        splits: of each example ``[N]``.
        seed: of the parts.

    Returns:
        None where there are not at least two labels with two examples each.
    """
    from distvae.evaluation.classifiers import linear_probe, nearest_vote

    rows = np.flatnonzero(labels >= 0)
    rows = rows[evenly(len(rows), MOST)]
    codes, labels = codes[rows].astype(np.float64), labels[rows]
    counts = np.bincount(labels) if len(labels) else np.zeros(0)
    if (counts > 1).sum() < 2:
        return None
    divided = set() if splits is None else set(splits[rows].tolist())
    if splits is not None and {"train", "test"} <= divided:
        named = splits[rows]
        parts = [(np.flatnonzero(named == "train"), np.flatnonzero(named == "test"))]
        how = f"fitted to {len(parts[0][0]):,} training examples, {len(parts[0][1]):,} of test told"
    else:
        parts = list(folds(labels, seed))
        how = f"{counted(len(labels), 'examples')}, each told by {FOLDS - 1} of {FOLDS} parts without it"
    hits: list[list[NDArray[np.bool_]]] = [[], []]
    told = []
    for fitted, held in parts:
        if len(set(labels[fitted].tolist())) < 2:
            continue
        for found, classify in zip(hits, (linear_probe, nearest_vote), strict=True):
            found.append(classify(codes[fitted], labels[fitted], codes[held]) == labels[held])
        told.append(labels[held])
    if not told:
        return None
    linear, near = (float(np.concatenate(found).mean()) for found in hits)
    seen = np.concatenate(told)
    return Probed(linear, near, len(seen), float(np.bincount(seen).max() / len(seen)), how)


def folds(labels: NDArray[np.int64], seed: int) -> Iterator[Split]:
    """Rows to fit to and rows to tell, five times; every label is spread evenly over the parts."""
    order = permutation(len(labels), seed, Stream.CHOICE)
    order = order[np.argsort(labels[order], kind="stable")]
    part = np.empty(len(labels), np.int64)
    part[order] = np.arange(len(labels)) % FOLDS
    for number in range(FOLDS):
        held = np.flatnonzero(part == number)
        if len(held):
            yield np.flatnonzero(part != number), held
