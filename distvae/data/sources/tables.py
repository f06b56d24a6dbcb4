"""Both splits from tables of `datasets`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distvae.config import DataConfig
from distvae.data.sources import columns
from distvae.data.sources.raw import RawData, RawSplit, choose_splits, finish
from distvae.errors import DistvaeError


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

    return finish(config, raw(chosen[0]), raw(chosen[1]) if len(chosen) > 1 else None, label_names)


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
