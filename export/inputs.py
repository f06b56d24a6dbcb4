"""What callers hand in, checked before it is run. Needs numpy only."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distvae.errors import DistvaeError
from distvae.labels import Labels, is_one, label_index, label_indices, numbers_are_indices

_FEW = 8
"""Numbers that Python looks at faster than numpy: a model that ran has driven numpy's code out of
the processor's caches, so that a single image would wait 5 microseconds for each of its calls."""


def checked_rows(
    values: NDArray[Any], name: str, dtype: type[np.generic], shape: tuple[int, ...]
) -> NDArray[Any]:
    """An array ``[N, *shape]`` as it is.

    Raises:
        DistvaeError: it is of another type or shape, or not finite.
    """
    if not isinstance(values, np.ndarray) or values.dtype != dtype:
        found = values.dtype if isinstance(values, np.ndarray) else type(values).__name__
        raise DistvaeError(
            f"{name} is {found}",
            f"expected a numpy array of {dtype.__name__}",
            f"Convert it: numpy.asarray({name}, numpy.{dtype.__name__})",
        )
    if values.ndim != 1 + len(shape) or values.shape[1:] != shape:
        sides = ", ".join(["N", *map(str, shape)])
        raise DistvaeError(
            f"{name} has shape {list(values.shape)}", f"expected [{sides}] for this model"
        )
    # one product first: it is finite only if all of them are, and quicker than looking at each
    if dtype is np.float32 and not (
        math.isfinite(np.vdot(values, values)) or np.isfinite(values).all()
    ):
        row = int(np.argmin(np.isfinite(values).reshape(len(values), -1).all(axis=1)))
        raise DistvaeError(f"{name} is not finite in row {row}", "expected numbers, no NaN or inf")
    return values


def label_numbers(labels: Labels, names: tuple[str, ...]) -> NDArray[np.int64]:
    """Labels as the graph takes them, int64 ``[N]``: their indices.

    Raises:
        DistvaeError: the model has no such label or no labels at all.
    """
    whole = isinstance(labels, np.ndarray) and labels.dtype.kind in "iu" and labels.ndim == 1
    if whole and _inside(labels, len(names)) and numbers_are_indices(names):
        indices: NDArray[np.int64] = labels.astype(np.int64, copy=False)
        return indices
    return label_indices(labels, names)


def labels_of_rows(
    labels: Labels | None, rows: int, names: tuple[str, ...]
) -> NDArray[np.int64] | None:
    """The label of each of ``rows`` images, int64 ``[rows]``; one alone is that of all.

    Raises:
        DistvaeError: a label too many, too few or unknown.
    """
    if labels is None:
        if not names:
            return None
        raise DistvaeError(
            "labels are missing",
            f"this model draws each image by its label, 0..{len(names) - 1}",
            "Give one label, or one for each image.",
        )
    if isinstance(labels, np.ndarray) and not labels.ndim:
        raise DistvaeError("labels are an array of no dimension", "expected one label for each row")
    numbers = label_numbers(labels, names)
    if not names:  # an empty list of labels for a model without
        label_index(0, names)
    if is_one(labels):
        return np.full(rows, numbers[0])
    if len(numbers) != rows:
        raise DistvaeError(f"there are {len(numbers)} labels", f"expected {rows}, one for each row")
    return numbers


def _inside(labels: NDArray[np.integer[Any]], end: int) -> bool:
    """Whether all labels are in 0 to ``end - 1``."""
    if len(labels) <= _FEW:
        return all(0 <= label < end for label in labels.tolist())
    return bool(labels.min() >= 0 and labels.max() < end)
