"""A name or a path becomes a train and a test split of encoded images with checked labels.

Finding a source is cheap and, for bundled and local data, never imports ``datasets``; reading it
finds columns and labels but decodes no image.
"""

import dataclasses
import gzip
import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distvae.config import DataConfig
from distvae.data import columns
from distvae.data.factors import GRIDS, Factor, classes_of, read_dsprites, shape_names
from distvae.data.local import FACTORS, TABLES, TEST_SPLITS, load_local, local_identity
from distvae.data.order import HELD_OUT, permutation
from distvae.errors import DistvaeError, nearest

BUNDLED = ("mnist", *GRIDS)


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


def load_source(config: DataConfig) -> Source:
    """Find the images that ``config.data`` names.

    Raises:
        DistvaeError: there is no such data, or the Hub cannot be reached. Splits, columns and
            labels are checked by ``Source.read``.
    """
    if config.data in GRIDS:
        name = config.data.replace(":", "-")
        grid = f"drawn 1 {GRIDS[config.data]}"
        return Source(name, config.data, grid, lambda: _read_sprites(config))
    if config.data in BUNDLED:
        return Source(config.data, f"bundled {config.data}", "bundled", lambda: _read_mnist(config))
    path = Path(config.data).expanduser()
    if path.exists():
        path = path.resolve()
        name = path.stem if path.is_file() else path.name
        root = path if path.is_dir() else path.parent

        def read() -> RawData:
            if path.suffix == FACTORS:
                factors, images = read_dsprites(path)
                return _read_grid(config, factors, images)
            return read_tables(load_local(path, config), config, root)

        return Source(
            re.sub(r"[^\w.-]+", "-", name).strip("-.") or "data",
            str(path),
            local_identity(path, config),
            read,
            lambda: load_local(path, config),
            root,
        )
    if path.suffix not in TABLES and re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", config.data):
        splits, identity = _load_hub(config)
        name = config.data.partition("/")[2]
        return Source(
            *(name, config.data, identity), lambda: read_tables(splits, config), lambda: splits
        )
    raise DistvaeError(
        f"there is no data called {config.data!r}",
        f"expected {', '.join(BUNDLED)}, a file or folder that exists, or a Hub id like owner/name",
        _suggest(config.data),
    )


def choose_splits(config: DataConfig, names: Collection[str]) -> tuple[str, str | None]:
    """The names of the train and of the test split; None where one must be held out.

    Raises:
        DistvaeError: a configured split is not among the names.
    """
    wishes = {"--split-train": config.split_train, "--split-test": config.split_test}
    for flag, wanted in wishes.items():
        if wanted is not None and wanted not in names:
            raise DistvaeError(
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


def _finish(
    config: DataConfig,
    train: RawSplit,
    test: RawSplit | None,
    label_names: tuple[str, ...],
    factors: tuple[Factor, ...] = (),
) -> RawData:
    if test is not None:
        return RawData(train, test, test.name, label_names, factors)
    origin = f"held-out tenth of {train.name}, seed {config.split_seed}"
    return RawData(*hold_out(train, config.split_seed), origin, label_names, factors)


def _read_mnist(config: DataConfig) -> RawData:
    """The bundled MNIST: gzip over IDX, big-endian headers of 16 and 8 bytes."""
    from PIL import Image

    def read(name: str) -> RawSplit:
        stem = Path(__file__).parent / "mnist" / {"train": "train", "test": "t10k"}[name]
        with gzip.open(f"{stem}-images-idx3-ubyte.gz") as file:
            pixels = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 28, 28)
        with gzip.open(f"{stem}-labels-idx1-ubyte.gz") as file:
            labels = np.frombuffer(file.read(), np.uint8, offset=8).astype(np.int64)
        return RawSplit(name, np.arange(len(labels)), labels, pixels.__getitem__, Image.fromarray)

    train, test = choose_splits(config, ("train", "test"))
    label_names = tuple(map(str, range(10)))
    return _finish(config, read(train), read(test) if test else None, label_names)


def _read_sprites(config: DataConfig) -> RawData:
    """Sprites drawn in the size that is asked for."""
    grid = GRIDS[config.data]
    side = config.image_size or grid.side
    return _read_grid(config, grid.factors, lambda rows: grid.draw(rows, side))


def _read_grid(
    config: DataConfig,
    factors: tuple[Factor, ...],
    fetch: Callable[[NDArray[np.int64]], NDArray[np.uint8]],
) -> RawData:
    """A whole grid of images, labelled by the first factor, their shape."""
    from PIL import Image

    (name, _) = choose_splits(config, ("train",))
    rows = np.arange(math.prod(len(factor.values) for factor in factors))
    labels = classes_of(factors, rows)[:, 0]
    split = RawSplit(name, rows, labels, lambda rows: list(fetch(rows)), Image.fromarray)
    return _finish(config, split, None, shape_names(factors), factors)


def choose_columns(tables: Mapping[str, Any], config: DataConfig) -> tuple[str, str | None]:
    """The columns of images and labels, by the features of the first table; all must have them.

    Raises:
        DistvaeError: they are not found, or a table lacks one.
    """
    features = next(iter(tables.values())).features
    image = columns.image_column(features, config.image_column, config.data)
    label = columns.label_column(features, config.label_column, config.data)
    for name, table in tables.items():
        for column in (image, label):
            if column is not None and column not in table.features:
                raise DistvaeError(
                    f"split {name} of {config.data} has no column {column}",
                    f"its columns are {', '.join(table.features)}",
                    "Choose another split by --split-test.",
                )
    return image, label


def read_tables(tables: Mapping[str, Any], config: DataConfig, root: Path | None = None) -> RawData:
    """Both splits from ``datasets`` tables; image paths in them are relative to ``root``."""
    import datasets

    chosen = [name for name in choose_splits(config, tables) if name is not None]
    tables = {name: tables[name] for name in chosen}
    image, label = choose_columns(tables, config)
    labels, label_names = columns.read_labels(tables, label, config.data) if label else ({}, ())

    def raw(name: str) -> RawSplit:
        table = tables[name].with_format(None).select_columns([image])
        if isinstance(table.features[image], datasets.Image):
            table = table.cast_column(image, datasets.Image(decode=False))

        def fetch(rows: NDArray[np.int64]) -> list[Any]:
            return [encoded_image(value, root) for value in table[rows.tolist()][image]]

        return RawSplit(name, np.arange(len(table)), labels.get(name), fetch, decode_image)

    return _finish(config, raw(chosen[0]), raw(chosen[1]) if len(chosen) > 1 else None, label_names)


def encoded_image(value: Any, root: Path | None) -> dict[str, Any]:
    """A cell as the ``bytes`` and ``path`` of one image."""
    if isinstance(value, str):
        value = {"path": value}
    elif not isinstance(value, dict):
        value = {"bytes": value}
    encoded, path = value.get("bytes"), value.get("path")
    if encoded is None and path is not None and root is not None:
        path = str(root / path)
    return {"bytes": encoded, "path": path}


def decode_image(encoded: dict[str, Any]) -> Any:
    """The picture in what :func:`encoded_image` gave."""
    import datasets

    if encoded["bytes"] is None and (path := encoded["path"]) and Path(path).is_file():
        encoded = {**encoded, "bytes": Path(path).read_bytes()}
    return datasets.Image().decode_example(encoded)


def _load_hub(config: DataConfig) -> tuple[Mapping[str, Any], str]:
    """All splits of a Hub dataset, tables or streams as configured, and their identity.

    Raises:
        DistvaeError: it does not exist, cannot be reached, or cannot be read.
    """
    import datasets

    name = config.data
    try:
        if config.streaming:
            builder = datasets.load_dataset_builder(name)
            return dict(builder.as_streaming_dataset()), f"streamed {builder.hash}"
        splits = dict(datasets.load_dataset(name))
        return splits, str([(split, table._fingerprint) for split, table in splits.items()])
    except Exception as error:  # no network alone raises several kinds, by library and place
        cause = error.__cause__ or error
        raise DistvaeError(
            f"{name} is no local path and could not be loaded from the Hugging Face Hub",
            f"{type(cause).__name__}: {cause}".splitlines()[0].rstrip(". "),
            _suggest(name) or "Check the name and the network, or give a local file or folder.",
        ) from error


def _suggest(data: str) -> str:
    """The bundled name or the neighbouring file or folder that was perhaps meant."""
    path = Path(data).expanduser()
    neighbours = path.parent.iterdir() if path.parent.is_dir() else ()
    return nearest(str(path), [*BUNDLED, *(str(path.with_name(file.name)) for file in neighbours)])
