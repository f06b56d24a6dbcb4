"""The MNIST that comes with the package."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from distvae.config import DataConfig
from distvae.data.deep import as_picture
from distvae.data.sources.idx import read_idx
from distvae.data.sources.raw import Notes, RawData, RawSplit
from distvae.data.sources.splits import choose_splits, finish

DIGITS = tuple(map(str, range(10)))


def read_mnist(config: DataConfig) -> RawData:
    """The bundled MNIST."""

    def read(name: str) -> RawSplit:
        pixels, labels = read_arrays_of(name)
        return RawSplit(name, np.arange(len(labels)), labels, pixels.__getitem__, as_picture)

    notes: Notes = []
    train, test = choose_splits(config, ("train", "test"), notes)
    return finish(config, read(train), read(test) if test else None, DIGITS, notes)


def read_arrays_of(split: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Images ``[N, 28, 28]`` and digits ``[N]`` of ``train`` or ``test``."""
    stem = Path(__file__).parent.parent / "mnist" / {"train": "train", "test": "t10k"}[split]
    pixels = read_idx(stem.with_name(f"{stem.name}-images-idx3-ubyte.gz"))
    labels = read_idx(stem.with_name(f"{stem.name}-labels-idx1-ubyte.gz"))
    return pixels, labels.astype(np.int64)
