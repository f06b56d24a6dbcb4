"""Factors of variation, where these are known of images.

Legend: N images, F factors.

A grid holds every combination of its factors' values exactly once and in order, the last factor
fastest, so the factors of an image follow from its row.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Factor:
    """One way in which images vary: its values by class number."""

    name: str
    values: tuple[float, ...]
    categorical: bool = False
    """Whether the values are mere numbers of kinds, without an order."""


def classes_of(factors: Sequence[Factor], rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """The class of each factor in each of these rows of the grid, ``[N, F]``."""
    return np.stack(np.unravel_index(rows, sizes_of(factors)), axis=1)


def values_of(factors: Sequence[Factor], classes: NDArray[np.int64]) -> NDArray[np.float64]:
    """The value of each factor ``[N, F]``."""
    columns = zip(factors, classes.T, strict=True)
    return np.stack([np.array(factor.values)[column] for factor, column in columns], axis=1)


def sizes_of(factors: Sequence[Factor]) -> tuple[int, ...]:
    """The number of values of each factor."""
    return tuple(len(factor.values) for factor in factors)
