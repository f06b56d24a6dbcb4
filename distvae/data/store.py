"""Decoded images on disk: one contiguous uint8 memory map per split, built once, then only opened.

A store is a folder named after its data and a fingerprint of everything that decides its content.
It is built beside its final place and renamed as a whole, so it is there completely or not at all.
"""

import dataclasses
import hashlib
import json
import math
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from distvae.config import DataConfig
from distvae.data.factors import Factor
from distvae.data.pixels import check_size, read_pixels
from distvae.data.sources import RawData, RawSplit, Source, load_source
from distvae.data.streaming import SAMPLE, Stream, open_stream, resident_part
from distvae.errors import DistvaeError

FORMAT = 1
BATCH = 64
Progress = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]


@dataclass(frozen=True, eq=False)
class Split:
    """Images uint8 [N, C, H, W], a read-only memory map, and labels int64 [N] or None.

    ``rows`` int64 [N] are the images' places in the grid of their factors, where these are known.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64] | None
    rows: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        """The number of images."""
        return len(self.images)


@dataclass(frozen=True, eq=False)
class ImageData:
    """Both splits of a data set and where they come from.

    ``name`` is fit for a folder name; ``label_names`` is empty where the images have no labels,
    ``factors`` where it is not known how they came about. Where there is a ``stream`` it has the
    training images, and ``train`` no more than a sample.
    """

    name: str
    source: str
    fingerprint: str
    train: Split
    test: Split
    test_origin: str
    label_names: tuple[str, ...]
    factors: tuple[Factor, ...] = ()
    stream: Stream | None = None

    @property
    def train_images(self) -> int:
        """The number of training images in an epoch."""
        return len(self.train) if self.stream is None else self.stream.images

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of every image."""
        channels, height, width = self.train.images.shape[1:]
        return channels, height, width

    @property
    def num_labels(self) -> int:
        """The number of labels; 0 for unlabelled images."""
        return len(self.label_names)


def open_data(config: DataConfig, progress: Progress | None = None) -> ImageData:
    """The images that a configuration asks for, decoded on the first call and only opened later.

    Args:
        config: what to open.
        progress: called with a description and a number of images; its context gives a function
            that is told how many more are done. Left out: a bar on the terminal.

    Raises:
        DistvaeError: the data is unknown or unfit, an image cannot be read, or the disk is full.
    """
    source = load_source(config)
    stream = open_stream(source, config) if config.streaming else None
    data = _open_or_build(source, stream, config, progress or _bar)
    return dataclasses.replace(data, stream=stream)


def _open_or_build(
    source: Source, stream: Stream | None, config: DataConfig, progress: Progress
) -> ImageData:
    fingerprint = _fingerprint(source, config)
    cache = cache_folder(config)
    folder = cache / f"{source.name}-{fingerprint}"
    if data := _open_store(folder):
        return data
    raw = source.read() if stream is None else None
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache, prefix=f".{folder.name}-") as scratch:
            if folder.exists():  # damaged: out of the way, and gone with the scratch folder
                with suppress(FileNotFoundError):
                    folder.rename(Path(scratch, "damaged"))
            if stream is not None:
                raw = resident_part(stream, Path(scratch))
            assert raw is not None
            built = Path(scratch, "store")
            _build(built, source, raw, config, fingerprint, progress)
            with suppress(OSError):  # another process was first: its store is as good
                built.rename(folder)
    except OSError as error:
        raise DistvaeError(
            f"cannot write decoded images to {cache}",
            f"{type(error).__name__}: {error}",
            "Choose another folder by --cache-dir.",
        ) from error
    if data := _open_store(folder):
        return data
    raise DistvaeError(
        f"cannot put decoded images into {folder}",
        "something else is in its place",
        "Delete it, or choose another folder by --cache-dir.",
    )


def cache_folder(config: DataConfig) -> Path:
    """Where decoded images live: as configured, else $DISTVAE_CACHE, else ~/.cache/distvae."""
    chosen = config.cache_dir or os.environ.get("DISTVAE_CACHE") or "~/.cache/distvae"
    return Path(chosen).expanduser()


def _fingerprint(source: Source, config: DataConfig) -> str:
    """16 hex digits of everything that decides which pixels and labels a store holds."""
    settings = {
        name: getattr(config, name)
        for name in (
            *("image_column", "label_column", "image_size", "channels"),
            *("split_train", "split_test", "split_seed"),
        )
    }
    content = [FORMAT, source.address, source.identity, settings]
    content += [SAMPLE] if config.streaming else []
    whole = json.dumps(content, sort_keys=True)
    return hashlib.sha256(whole.encode()).hexdigest()[:16]


def _open_store(folder: Path) -> ImageData | None:
    """The store in a folder, or None where there is none or a file of it is not whole."""
    try:
        meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        files = meta.pop("files")
        if any((folder / name).stat().st_size != size for name, size in files.items()):
            return None
        meta["factors"] = tuple(
            Factor(told["name"], tuple(told["values"]), told["categorical"])
            for told in meta.get("factors", ())
        )
        train, test = (
            Split(
                np.load(folder / f"{name}-images.npy", mmap_mode="r"),
                np.load(folder / f"{name}-labels.npy") if meta["label_names"] else None,
                np.load(folder / f"{name}-rows.npy") if meta["factors"] else None,
            )
            for name in ("train", "test")
        )
        meta["label_names"] = tuple(meta["label_names"])
        return ImageData(train=train, test=test, **meta)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _build(
    folder: Path,
    source: Source,
    raw: RawData,
    config: DataConfig,
    fingerprint: str,
    progress: Progress,
) -> None:
    """Decode both splits into a new folder; its metadata is written last."""
    splits = {"train": raw.train, "test": raw.test}
    sample = _Sample.of(raw.train, config)
    _check_space(folder.parent, sum(len(split.rows) for split in splits.values()), sample.shape)
    folder.mkdir()
    for name, split in splits.items():
        if split.labels is not None:
            np.save(folder / f"{name}-labels.npy", split.labels.astype(np.int64))
        if raw.factors:
            np.save(folder / f"{name}-rows.npy", split.rows)
        with progress(f"decoding {source.name} {name}", len(split.rows)) as advance:
            _decode(split, sample, folder / f"{name}-images.npy", advance)
    meta = {
        "name": source.name,
        "source": source.address,
        "fingerprint": fingerprint,
        "test_origin": raw.test_origin,
        "label_names": raw.label_names,
        "factors": [dataclasses.asdict(factor) for factor in raw.factors],
        "files": {file.name: file.stat().st_size for file in sorted(folder.iterdir())},
    }
    (folder / "meta.json").write_text(json.dumps(meta, indent=2) + "\n", encoding="utf-8")


@dataclass(frozen=True)
class _Sample:
    """What the first image of the training split says about all: its shape and channels."""

    where: str
    shape: tuple[int, ...]
    size: int | None

    @classmethod
    def of(cls, split: RawSplit, config: DataConfig) -> "_Sample":
        row, encoded = int(split.rows[0]), split.fetch(split.rows[:1])[0]
        where, size = split.where(row, encoded), config.image_size
        pixels = read_pixels(split.decode, encoded, where, config.channels, size)
        return cls(where, pixels.shape, size)


def _decode(split: RawSplit, sample: _Sample, path: Path, advance: Callable[[int], None]) -> None:
    """Write the pixels of a split, uint8 [N, C, H, W], one small batch per thread at a time."""
    shape = (len(split.rows), *sample.shape)
    images = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)

    def fill(start: int) -> int:
        rows = split.rows[start : start + BATCH]
        for index, (row, encoded) in enumerate(zip(rows, split.fetch(rows), strict=True), start):
            where = split.where(row, encoded)
            pixels = read_pixels(split.decode, encoded, where, sample.shape[0], sample.size)
            check_size(where, pixels.shape, sample.where, sample.shape)
            images[index] = pixels
        return len(rows)

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for count in pool.map(fill, range(0, len(split.rows), BATCH)):
            advance(count)
    images.flush()


def _check_space(folder: Path, count: int, shape: tuple[int, ...]) -> None:
    """Refuse before decoding what would not fit: a full disk ends a memory map by a signal."""
    needed = count * (math.prod(shape) + 8)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise DistvaeError(
            f"{count} images of {' x '.join(map(str, shape))} need {needed / 1e9:.2f} GB in "
            f"{folder.parent}",
            f"{free / 1e9:.2f} GB are free",
            "Make room, choose another folder by --cache-dir, or take a smaller --image-size.",
        )


@contextmanager
def _bar(description: str, total: int) -> Iterator[Callable[[int], None]]:
    """A progress bar on the terminal that appears after a second."""
    from rich.console import Console
    from rich.progress import Progress as Bar

    bar = Bar(console=Console(stderr=True), transient=True)
    task = bar.add_task(description, total=total)
    patient = time.monotonic() + 1
    with ExitStack() as stack:

        def advance(count: int) -> None:
            if not bar.live.is_started and sys.stderr.isatty() and time.monotonic() > patient:
                stack.enter_context(bar)
            bar.advance(task, count)

        yield advance
