"""CIFAR-10 and CIFAR-100 in their binary version, which needs no unpickling."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from distvae.config import DataConfig
from distvae.data.sources.array_labels import ArraySplit
from distvae.data.sources.arrays import read_arrays
from distvae.data.sources.raw import Notes, RawData
from distvae.errors import DistvaeError

PIXELS = 3 * 32 * 32
_NAMES = {1: ("batches.meta.txt",), 2: ("fine_label_names.txt", "coarse_label_names.txt")}
_PICKLES = ("data_batch_1", "test_batch", "batches.meta", "train", "test", "meta")


def is_batch(path: Path) -> bool:
    """Whether a file is called as a binary batch is."""
    return re.fullmatch(r"(data_batch_\d+|test_batch|train|test)\.bin", path.name) is not None


def label_files(folder: Path) -> list[Path]:
    """The files that name the labels of the batches in a folder."""
    return [
        folder / name for names in _NAMES.values() for name in names if (folder / name).is_file()
    ]


def refuse_pickles(files: Sequence[Path]) -> None:
    """Explain CIFAR's "python version".

    Raises:
        DistvaeError: it is among these files.
    """
    for path in files:
        if path.name in _PICKLES:
            with path.open("rb") as file:
                if file.read(1) == b"\x80":
                    raise DistvaeError(
                        f"{path.parent} holds CIFAR's python version",
                        f"{path.name} is a pickle, which can run code and is never opened",
                        "Take the binary version from the same page (cifar-10-binary.tar.gz or "
                        "cifar-100-binary.tar.gz).",
                    )


def read_cifar(files: Sequence[Path], config: DataConfig, notes: Notes) -> RawData:
    """Both splits of binary batches; of CIFAR-100's labels the fine ones unless told otherwise.

    Raises:
        DistvaeError: a batch is damaged.
    """
    leads, folder = {_lead(file) for file in files}, files[0].parent
    if len(leads) > 1 or any(file.parent != folder for file in files):
        raise DistvaeError(
            f"{config.data} mixes CIFAR-10 and CIFAR-100, or folders",
            "expected the binary batches of one of them in one folder",
            "Give the one folder.",
        )
    lead = leads.pop()
    coarse = config.label_column in ("coarse", "coarse_label", "coarse_labels")
    if lead == 2:
        taken, left = ("coarse", "fine") if coarse else ("fine", "coarse")
        notes.append(f"labels are the {taken} ones; left out: {left} (--label-column {left})")
    column = 0 if lead == 1 or coarse else 1
    splits = {}
    for name in dict.fromkeys(_split(file) for file in files):
        rows = [_rows(file, lead) for file in files if _split(file) == name]
        images = np.concatenate([batch[:, lead:] for batch in rows]).reshape(-1, 3, 32, 32)
        splits[name] = ArraySplit(images, np.concatenate([batch[:, column] for batch in rows]))
    names = _label_names(folder / _NAMES[lead][1 if lead == 2 and coarse else 0])
    if len(names) <= max(int(split.labels.max()) for split in splits.values()):  # type: ignore[union-attr]
        names = ()
    return read_arrays(config, splits, names, notes)


def _lead(path: Path) -> int:
    """How many labels come before each image."""
    size = path.stat().st_size
    fitting = [lead for lead in (1, 2) if size and size % (PIXELS + lead) == 0]
    if len(fitting) == 2:  # a multiple of both
        fitting = [2 if path.name in ("train.bin", "test.bin") else 1]
    if not fitting:
        raise DistvaeError(
            f"{path} has {size} bytes",
            f"expected a multiple of {PIXELS + 1} (CIFAR-10) or {PIXELS + 2} (CIFAR-100)",
            "Expected the whole binary batch as it is published.",
        )
    return fitting[0]


def _split(path: Path) -> str:
    return "test" if path.name.startswith("test") else "train"


def _rows(path: Path, lead: int) -> NDArray[np.uint8]:
    return np.fromfile(path, np.uint8).reshape(-1, lead + PIXELS)


def _label_names(path: Path) -> tuple[str, ...]:
    """The lines of a file, none where it is not there."""
    if not path.is_file():
        return ()
    return tuple(filter(None, path.read_text(encoding="utf-8", errors="replace").split("\n")))
