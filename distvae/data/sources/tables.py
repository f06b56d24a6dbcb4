"""Both splits from tables of `datasets`."""

import glob
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distvae.config import DataConfig
from distvae.data.encoded import decode_image, encoded_image
from distvae.data.sources import columns
from distvae.data.sources.arrays import array_splits
from distvae.data.sources.attributes import asked_columns, finished
from distvae.data.sources.list_columns import ListColumn
from distvae.data.sources.pictures import PictureSplit
from distvae.data.sources.raw import UNLABELLED, Notes, RawData, RawSplit, Tables
from distvae.data.sources.split_columns import split_by_column
from distvae.data.sources.splits import choose_splits, splits_of_files
from distvae.data.sources.table_labels import column_cells, given_of, labels_of_tables
from distvae.errors import DistvaeError
from distvae.text import some

TEXTS = ("string", "large_string")
Cells = Callable[[NDArray[np.int64]], dict[str, list[Any]]]


def load_tables(
    path: Path, kind: str, files: Sequence[Path], config: DataConfig, notes: Notes
) -> dict[str, Any]:
    """Parquet or arrow files, as streams where so configured, or what ``save_to_disk`` wrote.

    Raises:
        DistvaeError: they cannot be read.
    """
    import datasets

    try:
        if kind == "saved":
            loaded = datasets.load_from_disk(str(path))
            return dict(loaded) if isinstance(loaded, dict) else {"train": loaded}
        splits = {
            name: [glob.escape(str(file)) for file in chosen]
            for name, chosen in splits_of_files(path, files, config, notes).items()
        }
        if config.streaming:
            return _streams(kind, splits)
        return _loaded(kind, splits, streaming=False)
    except Exception as error:  # an empty split alone raises three kinds, by format
        cause = error.__cause__ or error
        raise DistvaeError(
            f"{path} could not be read by datasets",
            f"{type(cause).__name__}: {cause}".splitlines()[0].rstrip(". "),
            "Every split needs at least one row, and every file must be whole.",
        ) from error


def _loaded(kind: str, splits: Mapping[str, list[str]], streaming: bool) -> dict[str, Any]:
    """Table files by split, each of which may have columns of its own."""
    import datasets

    return {
        name: datasets.load_dataset(kind, data_files={name: files}, streaming=streaming)[name]
        for name, files in splits.items()
    }


def _streams(kind: str, splits: Mapping[str, list[str]]) -> dict[str, Any]:
    """Streams of table files; those of parquet know their number of rows from its footers."""
    import datasets
    from pyarrow import parquet

    streams = _loaded(kind, splits, streaming=True)
    for name, stream in streams.items() if kind == "parquet" else ():
        files = [file for pattern in splits[name] for file in glob.glob(pattern)]  # noqa: PTH207
        rows = sum(parquet.read_metadata(file).num_rows for file in files)
        stream.info.splits = datasets.SplitDict()
        stream.info.splits.add(datasets.SplitInfo(name, num_examples=rows))
    return streams


def picture_tables(
    path: Path, splits: Mapping[str, PictureSplit], names: tuple[str, ...], notes: Notes
) -> Tables:
    """The images of a folder as tables of ``datasets``."""
    import datasets

    tables = {}
    for name, split in splits.items():
        features = datasets.Features(image=datasets.Image())
        cells: dict[str, list[Any]] = {
            "image": [str(path.joinpath(*place)) for place in split.places]
        }
        if split.labels is not None:
            features["label"] = datasets.ClassLabel(names=list(names))
            cells["label"] = split.labels.tolist()
        tables[name] = datasets.Dataset.from_dict(cells, features=features)
    return Tables(tables, notes, root=None)


def choose(tables: Mapping[str, Any], config: DataConfig, notes: Notes) -> tuple[str, str | None]:
    """The names of the train and the test split; one is not tested on that lacks the labels."""
    train, _ = choose_splits(config, list(tables), [])
    wanted = columns.label_columns(tables[train].features, config.label_column, config.data)
    bare = [name for name, table in tables.items() if not set(wanted) <= set(table.features)]
    return choose_splits(config, list(tables), notes, bare)


def choose_columns(
    tables: Mapping[str, Any], config: DataConfig, notes: Notes
) -> tuple[str, list[str]]:
    """The column of images and those that may hold labels, by the features of the first table.

    Raises:
        DistvaeError: they are not found, or a table lacks the images.
    """
    features = next(iter(tables.values())).features
    image = columns.image_column(features, config.image_column, config.data, notes)
    labels = columns.label_columns(features, config.label_column, config.data)
    for name, table in tables.items():
        if image not in table.features:
            raise DistvaeError(
                f"split {name} of {config.data} has no column {image}",
                f"its columns are {some(table.features, 20)}",
                "Choose another split by --split-test.",
            )
    return image, [label for label in labels if label != image]


def read_tables(found: Tables, config: DataConfig) -> RawData:
    """Both splits from ``datasets`` tables."""
    import datasets

    notes = list(found.notes)
    there = divided(found.splits, config, notes)
    train, test = choose(there, config, notes)
    tables = {name: there[name] for name in (train, test) if name is not None}
    image, candidates = choose_columns(tables, config, notes)
    candidates = candidates or columns.only_other(tables[train].features, image)
    given = given_of(tables, image, candidates, config, notes)
    labels, label_names = (
        ({}, ()) if given else labels_of_tables(tables, image, candidates, config, notes)
    )
    if columns.is_array(tables[train].features[image]):
        lists = {name: ListColumn.of(table, image, config) for name, table in tables.items()}
        splits = array_splits(config, lists, labels, notes)
        return finished(config, splits, (train, test), given, label_names, notes)

    def raw(name: str) -> RawSplit:
        known = beside(tables[name], image, config)
        table = tables[name].with_format(None).select_columns([image])
        if isinstance(table.features[image], datasets.Image):
            table = table.cast_column(image, datasets.Image(decode=False))

        def fetch(rows: NDArray[np.int64]) -> list[Any]:
            cells = zip(rows.tolist(), table[rows.tolist()][image], strict=True)
            return [
                encoded_image(value, found.root, f"row {row} of split {name} of {config.data}")
                for row, value in cells
            ]

        def files(rows: NDArray[np.int64]) -> list[str]:
            return list(map(str, table[rows.tolist()][image]))

        named = files if columns.kind_of(table.features[image]) in TEXTS else None
        rows = np.arange(len(table))
        return RawSplit(
            *(name, rows, labels.get(name), fetch, decode_image), names=named, beside=known
        )

    splits = {name: raw(name) for name in tables}
    return finished(config, splits, (train, test), given, label_names, notes)


def beside(table: Any, image: str, config: DataConfig) -> Cells | None:
    """What gives the other columns of some rows, but for images and what was asked for as labels.

    Args:
        table: of a split.
        image: the column of the images.
        config: of the data.
    """
    asked = asked_columns(config.label_column, table.features)
    names = [name for name in columns.others(table.features, image) if name not in asked]
    plain = [name for name in names if columns.kind_of(table.features[name]) not in columns.BINARY]
    if not plain:
        return None
    chosen = table.with_format(None).select_columns(plain)

    def cells(rows: NDArray[np.int64]) -> dict[str, list[Any]]:
        found: dict[str, list[Any]] = chosen[rows.tolist()]
        return found

    return cells


def divided(tables: Mapping[str, Any], config: DataConfig, notes: Notes) -> dict[str, Any]:
    """Tables by split; a single one is divided by its column of splits, if it has one."""
    import datasets

    if not all(hasattr(table, "__len__") for table in tables.values()):
        return dict(tables)  # streams are what their files say

    def cells(table: Any, column: str) -> list[Any]:
        kind, result = table.features[column], column_cells(table, column, config.data)
        if isinstance(kind, datasets.ClassLabel):
            return [
                None if number in (None, UNLABELLED) else kind.names[number] for number in result
            ]
        return result

    def part(table: Any, column: str, rows: list[int]) -> Any:
        return table.remove_columns([column]).select(rows)

    return split_by_column(tables, cells, part, config, notes)
