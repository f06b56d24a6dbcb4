"""What callers hand in, checked before it is run. Needs numpy only."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distvae.attribute_values import asked_values
from distvae.errors import DistvaeError
from distvae.export.manifest import Manifest
from distvae.labels import Labels, is_one, label_index, label_indices, numbers_are_indices
from distvae.text import shortened

_FEW = 8
"""Numbers that Python looks at faster than numpy: a model that ran has driven numpy's code out of
the processor's caches, so that a single image would wait 5 microseconds for each of its calls."""


def checked_rows(
    values: NDArray[Any], name: str, dtype: type[np.generic], shape: tuple[int, ...]
) -> NDArray[Any]:
    """An array ``[N, *shape]`` as it is; a side of 0 in the shape may be of any other length.

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
    if not values.ndim or not _fits(values.shape[1:], shape):
        sides = ", ".join(["N", *(str(side or "any") for side in shape)])
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


def _fits(found: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    """Whether sides are those expected, of which 0 stands for any but 0."""
    if 0 not in shape:
        return found == shape
    pairs = zip(found, shape, strict=False)
    return len(found) == len(shape) and all(side == own if own else side for side, own in pairs)


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


def given_of_rows(labels: Labels | None, rows: int, manifest: Manifest) -> dict[str, NDArray[Any]]:
    """What a graph is given beside noise or examples, by name of the input ``[rows]``.

    Args:
        labels: of one label as :func:`labels_of_rows` takes them; of several attributes a mapping
            from their names, each one value for all or a list, in which None is not known.
        rows: how many.
        manifest: of the graph.

    Raises:
        DistvaeError: a value too many, too few or unknown.
    """
    if not manifest.attributes:
        numbers = labels_of_rows(labels, rows, manifest.label_names)
        return {} if numbers is None else {"label": numbers}
    values = asked_values(mapping_of(labels, manifest), manifest.attributes)
    if len(values) not in (1, rows):
        raise DistvaeError(f"there are {len(values)} values", f"expected {rows}, one for each row")
    return given_inputs(np.broadcast_to(values, (rows, values.shape[1])), manifest)


def of_examples(
    examples: NDArray[Any], labels: Labels | None, manifest: Manifest
) -> dict[str, NDArray[Any]]:
    """Examples as they are stored, and what they are given, by name of the input.

    Raises:
        DistvaeError: they are of another type or shape, or a label is unknown.
    """
    name, shape, dtype = manifest.example
    rows = checked_rows(examples, manifest.domain.field_name, np.dtype(dtype).type, shape)
    return {name: rows, **given_of_rows(labels, len(examples), manifest)}


def mapping_of(labels: Labels | None, manifest: Manifest) -> Mapping[str, Any]:
    """What is asked for of several attributes, by name.

    Raises:
        DistvaeError: it is no mapping.
    """
    if labels is None:
        return {}
    if not isinstance(labels, Mapping):
        names = ", ".join(f"{each.name!r}: ..." for each in manifest.attributes)
        raise DistvaeError(
            f"labels are {shortened(repr(labels))}",
            "this model is given several attributes and takes them by name",
            f"Give labels={{{names}}}.",
        )
    return labels


def given_inputs(values: NDArray[np.float32], manifest: Manifest) -> dict[str, NDArray[Any]]:
    """Values of attributes ``[N, A]`` as a graph takes them, by name of the input ``[N]``."""
    result: dict[str, NDArray[Any]] = {}
    for (name, kind), column in zip(manifest.given.items(), values.T, strict=True):
        whole = np.where(np.isnan(column), -1, column) if kind == "int64" else column
        result[name] = np.ascontiguousarray(whole, kind)
    return result


def _inside(labels: NDArray[np.integer[Any]], end: int) -> bool:
    """Whether all labels are in 0 to ``end - 1``."""
    if len(labels) <= _FEW:
        return all(0 <= label < end for label in labels.tolist())
    return bool(labels.min() >= 0 and labels.max() < end)
