"""The MNIST that comes with the package."""

from pathlib import Path

import numpy as np

from distvae.config import DataConfig
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
