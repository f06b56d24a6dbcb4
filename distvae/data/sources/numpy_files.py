"""``.npz`` and ``.npy`` files: arrays whose names say what they are."""

import re
import tokenize
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from distvae.config import DataConfig
from distvae.data.sources.array_labels import ArraySplit
from distvae.data.sources.arrays import read_arrays
from distvae.data.sources.attributes import asked_columns
from distvae.data.sources.dsprites import read_dsprites
from distvae.data.sources.raw import Notes, RawData
from distvae.data.sources.splits import WORDS, words_of
from distvae.data.sources.sprites import read_grid
from distvae.data.sources.unpacking import check_unpacked
from distvae.errors import DistvaeError, NotImagesError, nearest
from distvae.labels import natural_order
from distvae.text import counted, some

NUMPY = (".npz", ".npy")
UNREADABLE = (
    *(OSError, ValueError, EOFError, MemoryError, RecursionError),
    *(SyntaxError, tokenize.TokenError),  # of a header, which NumPy reads as Python's literals
    *(zipfile.BadZipFile, zlib.error, NotImplementedError),
)
"""What NumPy raises of files that are damaged."""
IMAGES = frozenset(("x", "images", "image", "imgs", "img", "data", "pixels", "samples"))
LABELS = frozenset(("y", "labels", "label", "targets", "target", "classes", "class", "digits"))
NAMES = frozenset(("class_names", "label_names", "classnames", "labelnames", "names", "categories"))
COLUMN = "="
"""Begins what is said of an array that is one of several columns."""
FACTORS = "latents_"
FEW = 3
"""Fewer files of one shape are no images of their own."""
Arrays = dict[str, NDArray[Any]]


class Meaning(NamedTuple):
    """What an array's name says."""

    split: str
    part: str
    """``images``, ``labels``, ``names``, ``=`` and a column that is asked for, or nothing."""


def read_numpy(files: Sequence[Path], config: DataConfig, notes: Notes) -> RawData:
    """Both splits of the arrays in these files.

    Raises:
        DistvaeError: a file cannot be read, or holds no images.
    """
    names = [_members(file) for file in files]
    if len(files) == 1 and any(name.startswith(FACTORS) for name in names[0]):
        factors, images = read_dsprites(files[0])
        return read_grid(config, factors, images)
    arrays = _arrays(files, notes)
    arrays = _stacked(arrays, notes) if not any(names) else arrays
    splits, label_names = splits_by_name(arrays, config, notes)
    return read_arrays(config, splits, label_names, notes)


def read_numpy_splits(
    files: Sequence[Path], config: DataConfig, notes: Notes, axes: int
) -> tuple[dict[str, ArraySplit], tuple[str, ...]]:
    """The arrays in these files by split, whatever their examples are, and the names of labels.

    Args:
        files: which.
        config: which of the arrays are asked for.
        notes: is told what was recognized.
        axes: of an example.

    Raises:
        DistvaeError: a file cannot be read, or holds no examples.
    """
    for file in files:
        _members(file)
    return splits_by_name(_arrays(files, notes), config, notes, "examples", axes + 1)


def _arrays(files: Sequence[Path], notes: Notes) -> Arrays:
    arrays: Arrays = {}
    for file in files:
        arrays |= _load(file, len(files) == 1, notes)
    return arrays


def _members(path: Path) -> list[str]:
    """The names of the arrays in an npz, none of which is unpacked; none of a single array.

    Raises:
        DistvaeError: it is damaged, or would unpack to what is no data or too much.
    """
    if path.suffix.lower() == ".npy":
        return []
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
        check_unpacked({one.filename: (one.file_size, one.compress_size) for one in members})
        return [member.filename.removesuffix(".npy") for member in members]
    except UNREADABLE as error:
        raise _damaged(path, error) from error


def _load(path: Path, alone: bool, notes: Notes) -> Arrays:
    """The arrays of a file by name; a ``.npy`` file's is its own. Objects are left out."""
    try:
        if path.suffix.lower() == ".npy":
            return {path.stem: np.load(path, mmap_mode="r", allow_pickle=False)}
        arrays: Arrays = {}
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            for name in archive.files:
                try:
                    arrays[name if alone else f"{path.stem}_{name}"] = archive[name]
                except ValueError as error:
                    if "Object arrays" not in str(error):
                        raise
                    note = f"left out: array {name} of {path.name} holds Python objects"
                    notes.append(f"{note}, never unpickled: save labels.astype(str)")
        return arrays
    except UNREADABLE as error:
        raise _damaged(path, error) from error


def _stacked(arrays: Arrays, notes: Notes) -> Arrays:
    """Single images in files of their own as one array; all else as it is."""
    kinds = {(array.shape, array.dtype) for array in arrays.values()}
    words = {word for name in arrays for word in words_of(name)}
    parts = {meaning(name).part for name in arrays}
    if (
        len(arrays) < FEW
        or len(kinds) > 1
        or words & WORDS.keys()
        or parts not in ({""}, {"images"})
    ):
        return arrays
    ((shape, _),) = kinds
    if len(shape) != 2 and not (len(shape) == 3 and min(shape[0], shape[2]) <= 4):
        return arrays
    sides = " x ".join(map(str, shape))
    notes.append(
        f"each of {counted(len(arrays), 'files')} is one image of {sides}; they have no labels"
    )
    return {"images": np.stack([arrays[name] for name in sorted(arrays, key=natural_order)])}


def _damaged(path: Path, error: Exception) -> DistvaeError:
    objects = any(word in str(error) for word in ("Object arrays", "Python objects", "pickle"))
    return DistvaeError(
        f"{path} cannot be read",
        "it holds Python objects, which are never unpickled"
        if objects
        else f"{type(error).__name__}: {error}",
        "Save plain arrays: np.savez('data.npz', images=np.stack(images), labels=labels)."
        if objects
        else "Expected whole arrays as np.save or np.savez write them.",
    )


def meaning(name: str) -> Meaning:
    """What an array is by its name, such as ``train_images``, ``x_test``, ``yval`` or ``X``."""
    words = words_of(name)
    if len(words) == 1 and (found := re.fullmatch(r"([xy])_?(.+)", words[0])):
        words = list(found.groups()) if found[2] in WORDS else words
    if "_".join(word for word in words if word not in WORDS) in NAMES:
        return Meaning("train", "names")
    split = next((word for word in words if word in WORDS), "train")
    rest = {word for word in words if word not in WORDS and not word.isdigit()}
    if rest <= IMAGES:
        return Meaning(split, "images")
    return Meaning(split, "labels" if rest <= LABELS else "")


def splits_by_name(
    arrays: Mapping[str, NDArray[Any]],
    config: DataConfig,
    notes: Notes,
    what: str = "images",
    axes: int = 3,
) -> tuple[dict[str, ArraySplit], tuple[str, ...]]:
    """Images and labels by split, by the names of the arrays or, where these are silent, shapes.

    Args:
        arrays: by name.
        config: which of them are asked for.
        notes: is told what was recognized.
        what: are looked for, in a message.
        axes: of an array that bears no usual name, at least.
    """
    found: dict[Meaning, str] = {}
    asked = asked_columns(config.label_column, arrays)
    for name in arrays:
        if (wished := _wished(name, config, asked)) or name != config.image_column:
            said = wished or meaning(name)
            if said.part and (wished or _fits(arrays[name], said.part)):
                found.setdefault(said, name)
    if not any(said.part == "images" for said in found):
        columns = {said: name for said, name in found.items() if said.part.startswith(COLUMN)}
        found = _by_shape(arrays, axes) | columns
    if missing := [name for name in asked[1:] if Meaning("train", COLUMN + name) not in found]:
        raise DistvaeError(
            f"--label-column {missing[0]}: {config.data} has no such array",
            f"expected one value per example; its arrays are {some(arrays)}",
            nearest(missing[0], arrays),
        )
    splits = {
        said.split: ArraySplit(arrays[name], *_given(arrays, found, said.split, asked))
        for said, name in found.items()
        if said.part == "images"
    }
    kinds = {name: f"{array.dtype} {list(array.shape)}" for name, array in arrays.items()}
    if not splits:
        raise NotImagesError(
            f"{config.data} has no array of {what}",
            f"its arrays are {some([f'{name} {kind}' for name, kind in kinds.items()]) or 'none'}"
            + "".join(f"; {note}" for note in notes),
            "Call them images and labels, or train_images, train_labels, test_images and "
            "test_labels, or name one by --image-column.",
        )
    used = [name for said, name in found.items() if said.split in splits or said.part == "names"]
    notes.append(f"arrays: {', '.join(f'{name} {kinds[name]}' for name in used)}")
    if left := [name for name in arrays if name not in used]:
        notes.append(f"left out: arrays {some(left)} (--image-column, --label-column)")
    splits = {name: _aligned(split) for name, split in splits.items()}
    names = next((arrays[name] for said, name in found.items() if said.part == "names"), None)
    return splits, () if names is None else tuple(map(str, names.tolist()))


def _wished(name: str, config: DataConfig, asked: Sequence[str]) -> Meaning | None:
    """What the columns that are asked for say of an array: also of that of another split."""
    bare = [word for word in words_of(name) if word not in WORDS]
    for wanted, part in [(config.image_column, "images"), *_parts(asked).items()]:
        if wanted is not None and (
            name == wanted or bare == [word for word in words_of(wanted) if word not in WORDS]
        ):
            return Meaning(meaning(name).split, part)
    return None


def _fits(array: NDArray[Any], part: str) -> bool:
    if part == "images":
        return array.ndim > 1 and array.dtype.kind in "biuf"
    return array.ndim == 1 if part == "names" else array.ndim in (1, 2)


def _by_shape(arrays: Mapping[str, NDArray[Any]], axes: int) -> dict[Meaning, str]:
    """One array of images, and the one beside it that has as many labels."""
    images = [
        name for name, array in arrays.items() if array.ndim >= axes and _fits(array, "images")
    ]
    if len(images) != 1:
        return {}
    count = len(arrays[images[0]])
    labels = [name for name, array in arrays.items() if array.shape in ((count,), (count, 1))]
    found = {Meaning("train", "images"): images[0]}
    return found | ({Meaning("train", "labels"): labels[0]} if len(labels) == 1 else {})


def _parts(asked: Sequence[str]) -> dict[str, str]:
    """What the array of each column is: labels, where one is asked for."""
    several = len(asked) > 1
    return {column: COLUMN + column if several else "labels" for column in asked}


def _given(
    arrays: Mapping[str, NDArray[Any]],
    found: Mapping[Meaning, str],
    split: str,
    asked: Sequence[str],
) -> tuple[NDArray[Any] | None, dict[str, NDArray[Any]] | None]:
    """The labels of a split, and the columns that are asked for."""
    names = {column: found.get(Meaning(split, part)) for column, part in _parts(asked).items()}
    columns = {column: arrays[name] for column, name in names.items() if name is not None}
    label = found.get(Meaning(split, "labels"))
    labels = next(iter(columns.values()), None) if label is None else arrays[label]
    return labels, columns if asked else None


def _aligned(split: ArraySplit) -> ArraySplit:
    """Images whose number comes last, as MATLAB writes them, with it first."""
    images, labels, columns = split
    shape = images.shape
    if labels is None or len(shape) < 3 or len(labels) == shape[0] or labels.size != shape[-1]:
        return split
    return ArraySplit(np.moveaxis(np.asarray(images[:]), -1, 0), labels.reshape(-1), columns)
