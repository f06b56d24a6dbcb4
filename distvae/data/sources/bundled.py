"""Images that come with the package or are drawn by it."""

import gzip
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from distvae.config import DataConfig
from distvae.data.factors import GRIDS, Factor, classes_of, shape_names
from distvae.data.sources.raw import RawData, RawSplit, choose_splits, finish


def read_mnist(config: DataConfig) -> RawData:
    """The bundled MNIST: gzip over IDX, big-endian headers of 16 and 8 bytes."""
    from PIL import Image

    def read(name: str) -> RawSplit:
        stem = Path(__file__).parent.parent / "mnist" / {"train": "train", "test": "t10k"}[name]
        with gzip.open(f"{stem}-images-idx3-ubyte.gz") as file:
            pixels = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 28, 28)
        with gzip.open(f"{stem}-labels-idx1-ubyte.gz") as file:
            labels = np.frombuffer(file.read(), np.uint8, offset=8).astype(np.int64)
        return RawSplit(name, np.arange(len(labels)), labels, pixels.__getitem__, Image.fromarray)

    train, test = choose_splits(config, ("train", "test"))
    label_names = tuple(map(str, range(10)))
    return finish(config, read(train), read(test) if test else None, label_names)


def read_sprites(config: DataConfig) -> RawData:
    """Sprites drawn in the size that is asked for."""
    grid = GRIDS[config.data]
    side = config.image_size or grid.side
    return read_grid(config, grid.factors, lambda rows: grid.draw(rows, side))


def read_grid(
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
    return finish(config, split, None, shape_names(factors), factors)
