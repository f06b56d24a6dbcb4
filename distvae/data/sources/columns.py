"""Which column of a table holds the images and which the labels."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from distvae.data.sources import split_columns
from distvae.data.sources.attributes import asked_columns
from distvae.data.sources.raw import Notes
from distvae.errors import DistvaeError, NotImagesError, nearest
from distvae.text import some

IMAGE_COLUMNS = (
    *("image", "img", "image_path", "image_file", "file_name", "filename", "filepath"),
    *("image_name", "img_name", "img_path", "images", "file", "path", "picture", "jpg", "png"),
)
BINARY = ("binary", "large_binary")
LABEL_COLUMNS = (
    *("label", "labels", "class", "target", "category", "class_name", "digit", "y"),
    *("label_name", "class_label", "category_name", "class_id", "label_id", "category_id"),
    *("species", "breed", "emotion", "diagnosis"),
)


def image_column(features: Mapping[str, Any], wanted: str | None, data: str, notes: Notes) -> str:
    """The column with the images: an Image feature, else paths, bytes or arrays by a usual name.

    Raises:
        DistvaeError: the wanted column is missing or holds no images, or none or several are found.
    """
    import datasets

    if wanted is not None:
        check_known(features, wanted, "--image-column", data)
        if not _may_hold_images(features[wanted]):
            raise DistvaeError(
                f"--image-column {wanted} of {data} holds {features[wanted]}",
                "expected images, their encoded bytes, their paths, or arrays of numbers",
            )
        return wanted
    found = [name for name, kind in features.items() if isinstance(kind, datasets.Image)]
    if not found:
        usual = usual_columns(features, IMAGE_COLUMNS)
        arrays = [name for name, kind in features.items() if is_array(kind)]
        found = [name for name in [*usual, *arrays] if _may_hold_images(features[name])][:1]
        binary = [name for name, kind in features.items() if kind_of(kind) in BINARY]
        found = found or (binary if len(binary) == 1 else [])
    if len(found) > 1 and "image" not in found:
        raise DistvaeError(
            f"{data} has {len(found)} columns with images",
            ", ".join(found),
            "Choose one with --image-column.",
        )
    if not found:
        raise NotImagesError(
            f"{data} has no image column",
            f"its columns are {some(features, 20)}",
            "Name the one with images, their bytes or their paths by --image-column; columns of "
            "numbers of a csv, tsv, jsonl, npz or npy are taken by --domain vectors.",
        )
    chosen = "image" if "image" in found else found[0]
    if len(found) > 1:
        left = ", ".join(name for name in found if name != chosen)
        notes.append(f"images are taken from column {chosen}; left out: {left} (--image-column)")
    elif chosen.casefold() != "image":
        notes.append(f"images are taken from column {chosen}")
    return chosen


def label_columns(features: Mapping[str, Any], wanted: str | None, data: str) -> list[str]:
    """The columns that may hold labels, the likeliest first; none says that there are no labels.

    A ClassLabel comes first, then whole numbers or text under a usual name.

    Raises:
        DistvaeError: the wanted column is missing or holds neither whole numbers nor text.
    """
    import datasets

    asked = asked_columns(wanted, features)
    for name in asked:
        check_known(features, name, "--label-column", data)
        if not _may_hold_labels(features[name]):
            raise DistvaeError(
                f"--label-column {name} of {data} holds {features[name]}",
                "expected one number or text per image",
            )
    if asked:
        return list(asked)
    usual = usual_columns(features, LABEL_COLUMNS)
    named = [name for name, kind in features.items() if isinstance(kind, datasets.ClassLabel)]
    named.sort(key=lambda name: name not in usual)
    return [
        *named,
        *(name for name in usual if name not in named and _may_hold_labels(features[name])),
    ]


def others(features: Mapping[str, Any], image: str) -> list[str]:
    """The columns that have a name and hold neither this image nor another."""
    return [
        name
        for name, kind in features.items()
        if name != image and name.strip() and not is_image(kind)
    ]


def only_other(features: Mapping[str, Any], image: str) -> list[str]:
    """The one column beside the images, whatever its name, if it may hold labels and is no real."""
    found = others(features, image)
    return [
        name
        for name in found
        if len(found) == 1
        and _may_hold_labels(features[name])
        and fold(name) not in split_columns.COLUMNS
        and not kind_of(features[name]).startswith("float")
    ]


def is_guess(column: str, features: Mapping[str, Any]) -> bool:
    """Whether only its place says that a column holds labels."""
    import datasets

    named = usual_columns([column], LABEL_COLUMNS)
    return not named and not isinstance(features[column], datasets.ClassLabel)


def is_array(kind: Any) -> bool:
    """Whether a column holds numbers in lists or arrays."""
    import datasets

    if isinstance(kind, datasets.Array2D | datasets.Array3D):
        return True
    depth = 0
    while isinstance(kind, datasets.List | datasets.LargeList):
        kind, depth = kind.feature, depth + 1
    numbers = ("int", "uint", "float", "bool")
    return depth > 0 and isinstance(kind, datasets.Value) and kind.dtype.startswith(numbers)


def usual_columns(columns: Iterable[str], names: tuple[str, ...]) -> list[str]:
    """The columns that bear one of these names, in their order: ``Class Name`` is class_name."""
    folded = [(fold(name), name) for name in columns]
    return [column for wanted in names for name, column in folded if name == fold(wanted)]


def fold(name: str) -> str:
    """The name of a column without case, spaces and what else joins words."""
    return re.sub(r"[\s_-]", "", name.casefold())


def _may_hold_images(kind: Any) -> bool:
    import datasets

    if isinstance(kind, datasets.Value):
        return kind.dtype in ("string", "large_string", *BINARY)
    encoded = isinstance(kind, datasets.Image) or (isinstance(kind, dict) and "bytes" in kind)
    return encoded or is_array(kind)


def _may_hold_labels(kind: Any) -> bool:
    import datasets

    if isinstance(kind, datasets.Value):
        text = kind.dtype in ("string", "large_string", "bool")
        return text or kind.dtype.startswith(("int", "uint", "float"))
    return isinstance(kind, datasets.ClassLabel)


def is_image(kind: Any) -> bool:
    """Whether a column holds encoded images."""
    import datasets

    return isinstance(kind, datasets.Image)


def kind_of(kind: Any) -> str:
    """What a column holds, in a word."""
    return str(getattr(kind, "dtype", None) or type(kind).__name__)


def check_known(features: Mapping[str, Any], wanted: str, flag: str, data: str) -> None:
    """Refuse the name of a column that is not there.

    Raises:
        DistvaeError: it is not.
    """
    if wanted not in features:
        raise DistvaeError(
            f"{flag} {wanted}: {data} has no such column",
            f"its columns are {some(features, 20)}",
            nearest(wanted, features),
        )
