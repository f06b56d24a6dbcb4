"""Images that come with the package or are drawn by it."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from distvae.config import DataConfig
from distvae.data.factors import GRIDS, Factor, classes_of, shape_names
from distvae.data.sources.arrays import as_picture
from distvae.data.sources.idx import read_idx
from distvae.data.sources.raw import Notes, RawData, RawSplit
from distvae.data.sources.splits import choose_splits, finish


def read_mnist(config: DataConfig) -> RawData:
    """The bundled MNIST."""

    def read(name: str) -> RawSplit:
        stem = Path(__file__).parent.parent / "mnist" / {"train": "train", "test": "t10k"}[name]
        pixels = read_idx(stem.with_name(f"{stem.name}-images-idx3-ubyte.gz"))
        labels = read_idx(stem.with_name(f"{stem.name}-labels-idx1-ubyte.gz")).astype(np.int64)
        return RawSplit(name, np.arange(len(labels)), labels, pixels.__getitem__, as_picture)

    notes: Notes = []
    train, test = choose_splits(config, ("train", "test"), notes)
    label_names = tuple(map(str, range(10)))
    return finish(config, read(train), read(test) if test else None, label_names, notes)


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
    notes: Notes = []
    name, _ = choose_splits(config, ("train",), notes)
    rows = np.arange(math.prod(len(factor.values) for factor in factors))
    labels = classes_of(factors, rows)[:, 0]
    split = RawSplit(name, rows, labels, lambda rows: list(fetch(rows)), as_picture)
    return finish(config, split, None, shape_names(factors), notes, factors)
