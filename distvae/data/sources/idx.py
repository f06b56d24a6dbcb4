"""IDX files, as MNIST and its kin are published: gzipped or not."""

import gzip
import math
import re
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distvae.config import DataConfig
from distvae.data.sources.array_labels import ArraySplit
from distvae.data.sources.arrays import read_arrays
from distvae.data.sources.raw import Notes, RawData
from distvae.data.sources.splits import WORDS, words_of
from distvae.data.sources.unpacking import check_unpacked
from distvae.errors import DistvaeError
from distvae.text import some

_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_NAME = re.compile(r"(.*?)(images|labels)?[-._]*idx(\d)[-._]*u?(byte|int)?s?(\.gz)?", re.IGNORECASE)


def is_idx(path: Path) -> bool:
    """Whether a file's name is one of an IDX file: ``train-images-idx3-ubyte.gz``."""
    return _NAME.fullmatch(path.name) is not None


def _stem(path: Path) -> list[str]:
    """What the names of one data set's files have in common."""
    matched = _NAME.fullmatch(path.name)
    assert matched is not None
    words = words_of(matched[1].casefold().replace("t10k", ""))
    return [word for word in words if word not in WORDS]


def kin(path: Path) -> list[Path]:
    """The files of the data set that an IDX file belongs to, which lie beside it."""
    return [
        file
        for file in sorted(path.parent.iterdir())
        if is_idx(file) and _stem(file) == _stem(path)
    ]


UNREADABLE = (
    *(OSError, EOFError, ValueError, KeyError, IndexError, MemoryError, OverflowError),
    zlib.error,
)


def read_idx(path: Path) -> NDArray[Any]:
    """The array in an IDX file.

    Raises:
        DistvaeError: it is damaged, or no IDX file.
    """
    try:
        with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as file:
            start = file.read(4)
            kind, axes = np.dtype(_TYPES[start[2]]), start[3]
            if start[:2] != b"\0\0" or not axes:
                raise ValueError("it does not begin as one")
            shape = tuple(np.frombuffer(file.read(4 * axes), ">u4", axes).tolist())
            size = math.prod(shape) * kind.itemsize
            check_unpacked({path.name: (size, path.stat().st_size)})
            content = file.read(size + 1)
        if len(content) != size:
            raise ValueError(f"its header tells of {shape} numbers, and there are not as many")
        return np.frombuffer(content, kind).reshape(shape)
    except UNREADABLE as error:
        raise DistvaeError(
            f"{path} cannot be read as an IDX file",
            f"{type(error).__name__}: {error}",
            "Expected the whole file as it is published.",
        ) from error


def read_idx_files(files: Sequence[Path], config: DataConfig, notes: Notes) -> RawData:
    """Both splits of pairs of files, one with images and one with labels.

    Raises:
        DistvaeError: there are no images, or several files for one split.
    """
    found: dict[tuple[str, bool], Path] = {}
    for file in files:
        matched = _NAME.fullmatch(file.name)
        assert matched is not None
        words = words_of(file.name.casefold().replace("t10k", "test"))
        split = next((word for word in words if word in WORDS), "train")
        labels = (matched[2] or "").lower() == "labels" or int(matched[3]) < 3
        other = found.setdefault((split, labels), file)
        if other != file:
            raise DistvaeError(
                f"{other} and {file} are both the {'labels' if labels else 'images'} of {split}",
                "expected one file for each",
                "Put those of one data set into a folder of their own, or give one of its files.",
            )
    notes.append(f"IDX files: {some([file.name for file in found.values()])}")
    splits = {}
    for (split, labels), file in found.items():
        if not labels:
            beside = found.get((split, True))
            numbers = None if beside is None else read_idx(beside)
            if numbers is not None and numbers.ndim == 2 and numbers.shape[1] > 1:
                numbers = numbers[:, 0]  # of QMNIST's eight numbers the first is the class
            splits[split] = ArraySplit(read_idx(file), numbers)
    if not splits:
        raise DistvaeError(
            f"{config.data} has IDX files of labels and none of images",
            f"found {some([file.name for file in files])}",
            "Put those of the images beside them.",
        )
    return read_arrays(config, splits, (), notes)
