"""Which column of a table holds the images and which the labels, and the labels themselves."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distvae.errors import DistvaeError, nearest
from distvae.labels import natural_order

IMAGE_COLUMNS = (
    *("image", "img", "image_path", "image_file", "file_name", "filename", "filepath"),
    *("file", "path", "picture", "jpg", "png"),
)
LABEL_COLUMNS = ("label", "labels", "class", "target", "category", "class_name", "digit", "y")


def image_column(features: Mapping[str, Any], wanted: str | None, data: str) -> str:
    """The column with the images: an Image feature, else paths or bytes under a usual name.

    Raises:
        DistvaeError: the wanted column is missing or holds no images, or none or several are found.
    """
    import datasets

    if wanted is not None:
        _check_known(features, wanted, "--image-column", data)
        if not _may_hold_images(features[wanted]):
            raise DistvaeError(
                f"--image-column {wanted} of {data} holds {features[wanted]}",
                "expected images, their encoded bytes or their paths",
            )
        return wanted
    found = [name for name, kind in features.items() if isinstance(kind, datasets.Image)]
    usual = [name for name in IMAGE_COLUMNS if name in features]
    if not found:
        found = [name for name in usual if _may_hold_images(features[name])][:1]
    if len(found) > 1 and "image" not in found:
        raise DistvaeError(
            f"{data} has {len(found)} columns with images",
            ", ".join(found),
            "Choose one with --image-column.",
        )
    if not found:
        raise DistvaeError(
            f"{data} has no image column",
            f"its columns are {', '.join(features)}",
            "Name the one with images, their bytes or their paths by --image-column.",
        )
    return "image" if "image" in found else found[0]


def label_column(features: Mapping[str, Any], wanted: str | None, data: str) -> str | None:
    """The column with the labels: a ClassLabel, else whole numbers or text under a usual name.

    None says that the data has no labels.

    Raises:
        DistvaeError: the wanted column is missing or holds neither whole numbers nor text.
    """
    import datasets

    if wanted is not None:
        _check_known(features, wanted, "--label-column", data)
        if not _may_hold_labels(features[wanted]):
            raise DistvaeError(
                f"--label-column {wanted} of {data} holds {features[wanted]}",
                "expected one whole number or text per image",
            )
        return wanted
    found = [name for name, kind in features.items() if isinstance(kind, datasets.ClassLabel)]
    found.sort(key=lambda name: name not in LABEL_COLUMNS)
    usual = [name for name in LABEL_COLUMNS if _may_hold_labels(features.get(name))]
    return next(iter(found + usual), None)


def read_labels(
    splits: Mapping[str, Any], column: str, data: str
) -> tuple[dict[str, NDArray[np.int64]], tuple[str, ...]]:
    """The labels of each split, int64 [N], and the names they stand for.

    Text and bare numbers become indices into their distinct values in natural order; the first
    split is the one that says which there are.

    Raises:
        DistvaeError: a label is missing or out of range, or the splits know different labels.
    """
    import datasets

    kinds = {split: dataset.features[column] for split, dataset in splits.items()}
    named = {
        split: tuple(kind.names) if isinstance(kind, datasets.ClassLabel) else None
        for split, kind in kinds.items()
    }
    first = next(iter(splits))
    for split, names in named.items():
        if names != named[first]:
            raise DistvaeError(
                f"splits {first} and {split} of {data} have different labels in {column}",
                f"{_some(named[first])} against {_some(names)}",
                "Make them the same, or choose other splits by --split-train and --split-test.",
            )
    values = {split: _values(split, dataset, column, data) for split, dataset in splits.items()}
    if (names := named[first]) is not None:
        _check_range(values, names, column, data)
        return values, names
    known = _distinct(values[first])
    index = {value: number for number, value in enumerate(known)}
    for split, found in values.items():
        unknown = [value for value in _distinct(found) if value not in index]
        if unknown:
            raise DistvaeError(
                f"split {split} of {data} has labels that split {first} has not: {_some(unknown)}",
                f"{column} in {first} is one of {_some(known)}",
                "Choose other splits by --split-train and --split-test.",
            )
    indices = {
        split: np.array([index[value] for value in found.tolist()], np.int64)
        for split, found in values.items()
    }
    return indices, tuple(map(str, known))


def _distinct(values: NDArray[Any]) -> list[Any]:
    """The distinct values in order: numbers by value, text as people count."""
    found = set(values.tolist())
    return sorted(found, key=natural_order if values.dtype == object else None)


def _values(split: str, dataset: Any, column: str, data: str) -> NDArray[Any]:
    """The labels as they are stored, none of them missing."""
    values = dataset.select_columns([column]).with_format("arrow")[:][column]
    if values.null_count:
        raise DistvaeError(
            f"{values.null_count} of {len(values)} labels in column {column} of split {split} "
            f"of {data} are missing, the first in row {values.is_null().to_pylist().index(True)}",
            "expected a label for every image",
            "Fill them in, or remove those rows.",
        )
    array: NDArray[Any] = values.to_numpy()
    return array


def _check_range(
    values: Mapping[str, NDArray[Any]], names: tuple[str, ...], column: str, data: str
) -> None:
    for split, found in values.items():
        wrong = np.flatnonzero((found < 0) | (found >= len(names)))
        if len(wrong):
            raise DistvaeError(
                f"label {found[wrong[0]]} in row {wrong[0]} of split {split} of {data}",
                f"{column} knows 0..{len(names) - 1} ({_some(names)})",
                "Choose a labelled split by --split-train and --split-test.",
            )


def _may_hold_images(kind: Any) -> bool:
    import datasets

    if isinstance(kind, datasets.Value):
        return kind.dtype in ("string", "large_string", "binary", "large_binary")
    return isinstance(kind, datasets.Image) or (isinstance(kind, dict) and "bytes" in kind)


def _may_hold_labels(kind: Any) -> bool:
    import datasets

    if isinstance(kind, datasets.Value):
        return kind.dtype in ("string", "large_string", "bool") or "int" in kind.dtype
    return isinstance(kind, datasets.ClassLabel)


def _check_known(features: Mapping[str, Any], wanted: str, flag: str, data: str) -> None:
    if wanted not in features:
        raise DistvaeError(
            f"{flag} {wanted}: {data} has no such column",
            f"its columns are {', '.join(features)}",
            nearest(wanted, features),
        )


def _some(values: Iterable[Any] | None, most: int = 8) -> str:
    """The first few of many values, for a message."""
    shown = list(map(str, values if values is not None else ["numbers or text without names"]))
    return ", ".join(shown[:most]) + (f", ... ({len(shown)})" if len(shown) > most else "")
