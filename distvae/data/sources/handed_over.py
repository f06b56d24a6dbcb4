"""What data in Python is: arrays, tensors, pictures, or datasets of torch and ``datasets``.

Legend: N examples, H height, W width, C channels.
"""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from distvae.config import DataConfig
from distvae.data.identity import Progress, combined
from distvae.data.sources.array_labels import ArraySplit
from distvae.data.sources.arrays import read_arrays
from distvae.data.sources.given_values import (
    EXPECTED,
    Pictures,
    digest,
    images_of,
    is_array,
    labels_of,
    numbers_of,
    upright,
)
from distvae.data.sources.labels import Numbers
from distvae.data.sources.numpy_files import IMAGES, LABELS, splits_by_name
from distvae.data.sources.raw import Notes, RawData, RawSplit, Tables, domains_of_numbers
from distvae.data.sources.row_tables import Rows, rows_of_tables
from distvae.data.sources.rows import read_rows, recognized_rows, rows_of_arrays
from distvae.data.sources.tables import read_tables
from distvae.errors import DistvaeError, NotImagesError

TRAIN, TEST = "train", "test"
ROWS = 1000
"""Of a table of ``datasets``, read at once."""


class Part(NamedTuple):
    """A split: examples, and what is known of each."""

    split: ArraySplit
    names: tuple[str, ...] = ()
    """Of labels that are whole numbers, if known."""


class Recognized(NamedTuple):
    """Data whose kind is known."""

    identity: Callable[[], str]
    """A digest of what they hold, which takes a look at all of it."""
    read: Callable[[DataConfig], RawData]


def recognized(data: Any, progress: Progress) -> Recognized:
    """The kind of data: its reading, and its identity where that is asked for.

    Raises:
        DistvaeError: it is nothing that can be trained on.
    """
    if isinstance(data, Mapping) and data and all(map(is_array, data.values())):
        return _named_arrays({str(name): numbers_of(value) for name, value in data.items()})
    if isinstance(data, tuple) and len(data) == 2 and all(map(is_pair, data)):
        data = dict(zip((TRAIN, TEST), data, strict=True))  # as Keras gives them
    splits = data if isinstance(data, Mapping) else {TRAIN: data}
    if splits and all(map(_is_table, splits.values())):
        return _tables({str(name): table for name, table in splits.items()})
    if splits and all(map(is_frame, splits.values())):
        return _frames({str(name): frame for name, frame in splits.items()})
    parts = {str(name): _part(value, progress) for name, value in splits.items()}
    if not parts:
        raise DistvaeError("data holds nothing", EXPECTED)
    names = next(iter(parts.values())).names
    given = {name: part.split for name, part in parts.items()}

    def identity() -> str:
        return combined([[name, *_digests(split)] for name, split in given.items()] + [names])

    return Recognized(identity, lambda config: _read(given, names, config))


def _read(
    splits: Mapping[str, ArraySplit],
    names: tuple[str, ...],
    config: DataConfig,
    notes: Notes | None = None,
) -> RawData:
    """Images, or rows of numbers where they are none."""
    told: Notes = list(notes or ())

    def rows(config: DataConfig) -> Rows:
        return rows_of_arrays(splits, names, config, list(told))

    if config.domain in domains_of_numbers():
        return read_rows(rows, config)
    pictures = any(isinstance(split.images, Pictures) for split in splits.values())
    try:
        make = _picture_splits if pictures else None
        return read_arrays(config, splits, names, list(told), make)
    except NotImagesError as error:
        if config.domain is not None:
            raise
        return recognized_rows(rows, config, error)


def _named_arrays(arrays: dict[str, NDArray[Any]]) -> Recognized:
    """Arrays whose names say what they are, as those of an npz."""

    def identity() -> str:
        return combined([[name, digest(array)] for name, array in arrays.items()])

    def read(config: DataConfig) -> RawData:
        notes: Notes = []
        splits, names = splits_by_name(arrays, config, notes, "examples", 2)
        return _read(splits, names, config, notes)

    return Recognized(identity, read)


def _part(data: Any, progress: Progress) -> Part:
    """One split of what was given."""
    if isinstance(data, tuple):
        if len(data) != 2:
            raise DistvaeError(f"data is a tuple of {len(data)}", EXPECTED)
        images, labels = data
        return Part(_split(images, labels))
    if is_array(data):
        return Part(_split(data, None))
    if hasattr(data, "__getitem__") and hasattr(data, "__len__"):
        return _of_dataset(data, progress)
    raise DistvaeError(f"data is a {type(data).__module__}.{type(data).__qualname__}", EXPECTED)


def _split(images: Any, labels: Any) -> ArraySplit:
    values = images_of(images)
    if labels is None:
        return ArraySplit(values, None)
    if isinstance(labels, Mapping):
        columns = {str(name): labels_of(each) for name, each in labels.items()}
        return ArraySplit(values, next(iter(columns.values()), None), columns)
    found = labels_of(labels)
    if len(found) != values.shape[0]:
        raise DistvaeError(
            f"data has {values.shape[0]:,} images and {len(found):,} labels",
            "expected one label for each image",
            "Make them as many.",
        )
    return ArraySplit(values, found)


def _of_dataset(data: Any, progress: Progress) -> Part:
    """The items of a dataset of torch, read once: an image, (image, label) or a dictionary."""
    images, labels = [], []
    with progress("reading the dataset", len(data)) as advance:
        for number in range(len(data)):
            image, label = _item(data[number])
            images.append(image)
            labels.append(label)
            advance(1)
    known = None if all(label is None for label in labels) else labels
    split = _split(images, known)
    whole = data
    while not hasattr(whole, "classes") and hasattr(whole, "dataset"):  # a Subset
        whole = whole.dataset
    classes = getattr(whole, "classes", ())
    numbers = split.labels is not None and split.labels.dtype.kind in "iu" and len(classes) > 0
    if not numbers or split.labels is None or split.labels.max(initial=0) >= len(classes):
        return Part(split)
    return Part(split, tuple(map(str, classes)))


def _item(item: Any) -> tuple[Any, Any]:
    if isinstance(item, Mapping):
        image = next((value for name, value in item.items() if str(name).lower() in IMAGES), None)
        label = next((value for name, value in item.items() if str(name).lower() in LABELS), None)
        if image is None:
            raise DistvaeError(
                f"an item of the dataset has {', '.join(map(str, item))}",
                "expected an image under a usual name, such as image",
                "Give (images, labels) instead.",
            )
        return image, label
    if isinstance(item, tuple | list):
        return item[0], item[1] if len(item) > 1 else None
    return item, None


def is_pair(data: Any) -> bool:
    """Whether this is images and their labels, both in memory."""
    return isinstance(data, tuple | list) and len(data) == 2 and all(map(is_array, data))


def _is_table(data: Any) -> bool:
    return type(data).__module__.split(".")[0] == "datasets" and hasattr(data, "with_format")


def _picture_splits(
    config: DataConfig, images: Mapping[str, Any], labels: Numbers, notes: Notes
) -> dict[str, RawSplit]:
    """Pictures of PIL by split."""
    return {
        name: RawSplit(
            name, np.arange(found.shape[0]), labels.get(name), found.__getitem__, upright
        )
        for name, found in images.items()
    }


def is_frame(data: Any) -> bool:
    """Whether this is a frame of pandas."""
    return type(data).__module__.split(".")[0] == "pandas" and hasattr(data, "columns")


def _frames(frames: Mapping[str, Any]) -> Recognized:
    """Frames of pandas by split, whose columns are numbers and labels."""
    import pyarrow as pa

    tables = {
        name: pa.Table.from_pandas(each, preserve_index=False) for name, each in frames.items()
    }

    def identity() -> str:
        columns = [
            [name, column, digest(numbers_of(frame[column]))]
            for name, frame in frames.items()
            for column in frame.columns
        ]
        return combined(columns)

    def rows(config: DataConfig) -> Rows:
        return rows_of_tables(tables, config, [])

    def read(config: DataConfig) -> RawData:
        if config.domain in domains_of_numbers():
            return read_rows(rows, config)
        return recognized_rows(rows, config, NotImagesError("a pandas frame holds no images"))

    return Recognized(identity, read)


def _tables(named: Mapping[str, Any]) -> Recognized:
    """Tables of ``datasets`` by split."""
    if any(not hasattr(table, "__len__") for table in named.values()):
        raise DistvaeError(
            "data is a stream of datasets",
            "what is handed over is read whole",
            "Name the data by its path or Hub id, with streaming=True.",
        )

    def identity() -> str:
        return combined([[name, _table_digest(table)] for name, table in named.items()])

    return Recognized(identity, lambda config: read_tables(Tables(named, [], root=None), config))


def _table_digest(table: Any) -> str:
    """Of what a table holds; also of images that it names by their paths."""
    import datasets

    found = hashlib.sha256(str(table.features).encode())
    for name, kind in table.features.items():
        if isinstance(kind, datasets.Image):
            table = table.cast_column(name, datasets.Image(decode=False))
    plain = table.with_format(None)
    for start in range(0, len(plain), ROWS):
        for name, cells in plain[start : start + ROWS].items():
            found.update(name.encode())
            for cell in cells:
                path = cell.get("path") if isinstance(cell, dict) else None
                if path and cell.get("bytes") is None and Path(path).is_file():
                    cell = Path(path).read_bytes()
                found.update(repr(cell).encode())
    return found.hexdigest()


def _digests(split: ArraySplit) -> list[Any]:
    known = {} if split.attributes is None else split.attributes
    labels = None if split.labels is None else digest(split.labels)
    return [digest(split.images), labels, {name: digest(each) for name, each in known.items()}]
