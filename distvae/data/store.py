"""Decoded images on disk: one contiguous uint8 memory map per split, built once, then only opened.

A store is a folder named after its data and a digest of everything that decides its content. It is
built beside its final place and renamed as a whole, so it is there completely or not at all. Its
arrays have digests, by which a damaged one is noticed and which are the identity of the data.
"""

import dataclasses
import json
import math
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distvae.config import DataConfig
from distvae.data.cache import building, cache_folder
from distvae.data.factors import Factor
from distvae.data.identity import (
    ROWS,
    Progress,
    array_digest,
    combined,
    digest_of,
    piece_digest,
    remember,
    remembered,
    state_of,
    threads,
)
from distvae.data.pixels import check_size, read_pixels
from distvae.data.sources import RawData, RawSplit, Source, load_source
from distvae.data.streaming import SAMPLE, Stream, open_stream, resident_part
from distvae.data.validation import with_validation
from distvae.errors import DistvaeError
from distvae.terminal import make_console, progress_bar

FORMAT = 2
META, MEMORY = "meta.json", "verified.json"
CONTENT_SETTINGS = (
    *("image_column", "label_column", "image_size", "channels"),
    *("split_train", "split_test", "split_seed"),
)
"""Settings that decide which pixels and labels a store holds."""


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
    """Both splits of a data set and where they come from; three, where weights are judged apart.

    ``name`` is fit for a folder name; ``label_names`` is empty where the images have no labels,
    ``factors`` where it is not known how they came about. Where there is a ``stream`` it has the
    training images, and ``train`` no more than a sample.

    ``digests`` tell by name each part of what the data holds: images and labels of the splits, and
    the names of the labels; of a stream, its files instead of the training images. ``fingerprint``
    is one of them all. Both are the same wherever the data lies.
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
    digests: Mapping[str, str] = field(default_factory=dict)
    validation: Split | None = None
    validation_origin: str = ""

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
    progress = progress or progress_bar
    source = load_source(config, progress)
    stream = open_stream(source, config) if config.streaming else None
    data = _open_or_build(source, stream, config, progress)
    digests = data.digests
    if stream is not None:  # of the training images there is but a sample
        kept = {name: told for name, told in digests.items() if not name.startswith("train ")}
        digests = {"train files": source.identity, **kept}
    return dataclasses.replace(
        data,
        name=source.name,
        source=source.address,
        fingerprint=combined(digests)[:16],
        stream=stream,
        digests=digests,
    )


def _open_or_build(
    source: Source, stream: Stream | None, config: DataConfig, progress: Progress
) -> ImageData:
    cache = cache_folder(config)
    folder = cache / f"{source.name}-{_key(source, config)}"
    if data := _open_store(folder, progress):
        return data
    with _cache_told(cache), building(folder) as scratch:
        if data := _open_store(folder, progress, tell=True):  # another process was first
            return data
        if folder.exists():  # damaged: out of the way, and gone with the scratch folder
            folder.rename(scratch / "damaged")
        raw = source.read() if stream is None else resident_part(stream, scratch)
        raw = with_validation(raw, config, lambda other: _read(other, scratch))
        built = scratch / "store"
        _build(built, source, raw, config, progress)
        with suppress(OSError):  # where there are no locks: another's store is as good
            built.rename(folder)
    if data := _open_store(folder, progress):
        return data
    raise DistvaeError(
        f"cannot put decoded images into {folder}",
        "something else is in its place",
        "Delete it, or choose another folder by --cache-dir.",
    )


def _read(config: DataConfig, scratch: Path) -> RawData:
    """The splits of other settings, encoded."""
    source = load_source(config)
    if not config.streaming:
        return source.read()
    folder = scratch / f"{config.split_test}"
    folder.mkdir()
    return resident_part(open_stream(source, config), folder)


@contextmanager
def _cache_told(cache: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DistvaeError(
            f"cannot write decoded images to {cache}",
            f"{type(error).__name__}: {error}",
            "Choose another folder by --cache-dir.",
        ) from error


def _key(source: Source, config: DataConfig) -> str:
    """16 hex digits of everything that decides which pixels and labels a store holds."""
    settings = {name: getattr(config, name) for name in CONTENT_SETTINGS}
    if config.split_validation is not None:
        settings["split_validation"] = config.split_validation
    content = [FORMAT, source.identity, settings]
    content += [SAMPLE] if config.streaming else []
    return combined(content)[:16]


def _open_store(folder: Path, progress: Progress, tell: bool = False) -> ImageData | None:
    """The store in a folder, or None where there is none or a damaged one."""
    if not (folder / META).exists():
        return None
    try:
        meta = json.loads((folder / META).read_text(encoding="utf-8"))
        if meta.pop("digest") != combined(meta):
            raise ValueError(f"{META} is not what was written")
        arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in meta["arrays"]}
        _verify(folder, meta["arrays"], arrays, progress)
        return _opened(meta, arrays)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        if tell:
            why = str(error).partition("\n")[0]
            told = f"warning: the decoded images in {folder} are damaged ({why}); decoding anew"
            make_console(stderr=True).print(told)
        return None


def _verify(
    folder: Path,
    digests: Mapping[str, str],
    arrays: Mapping[str, NDArray[Any]],
    progress: Progress,
) -> None:
    """Compare arrays with their digests, once for each change of a file.

    Raises:
        ValueError: one of them is not what was written.
    """
    state = state_of(folder, [folder / f"{name}.npy" for name in digests])
    if remembered(folder / MEMORY, state) is not None:
        return
    with progress("checking decoded images", sum(map(len, arrays.values()))) as advance:
        for name, array in arrays.items():
            if digest_of(array, advance) != digests[name]:
                raise ValueError(f"{name}.npy is not what was written")
    remember(folder / MEMORY, state, combined(digests))


def _opened(meta: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> ImageData:
    """A store from its metadata and its arrays, of which only the images stay on disk."""
    splits: dict[str, Any] = {}
    for name in meta["splits"]:
        labels, rows = (arrays.get(f"{name}-{part}") for part in ("labels", "rows"))
        splits[name] = Split(
            arrays[f"{name}-images"],
            None if labels is None else np.array(labels),
            None if rows is None else np.array(rows),
        )
    digests = {name.replace("-", " "): told for name, told in meta["arrays"].items()}
    return ImageData(
        name=meta["name"],
        source=meta["source"],
        fingerprint="",
        **splits,
        test_origin=meta["test_origin"],
        validation_origin=meta.get("validation_origin", ""),
        label_names=tuple(meta["label_names"]),
        factors=tuple(
            Factor(told["name"], tuple(told["values"]), told["categorical"])
            for told in meta["factors"]
        ),
        digests={**digests, "label names": combined(meta["label_names"])},
    )


def _build(
    folder: Path, source: Source, raw: RawData, config: DataConfig, progress: Progress
) -> None:
    """Decode all splits into a new folder; its metadata is written last."""
    splits = {"train": raw.train, "test": raw.test}
    if raw.validation is not None:
        splits["validation"] = raw.validation
    sample = _Sample.of(raw.train, config)
    _check_space(folder.parent, sum(len(split.rows) for split in splits.values()), sample.shape)
    folder.mkdir()
    digests: dict[str, str] = {}
    for name, split in splits.items():
        parts = {"labels": split.labels, "rows": split.rows if raw.factors else None}
        for part, array in parts.items():
            if array is not None:
                np.save(folder / f"{name}-{part}.npy", array.astype(np.int64))
                digests[f"{name}-{part}"] = digest_of(array.astype(np.int64))
        with progress(f"decoding {source.name} {name}", len(split.rows)) as advance:
            path = folder / f"{name}-images.npy"
            digests[f"{name}-images"] = _decode(split, sample, path, advance)
    meta = {
        "name": source.name,
        "source": source.address,
        "test_origin": raw.test_origin,
        "validation_origin": raw.validation_origin,
        "label_names": list(raw.label_names),
        "factors": [dataclasses.asdict(factor) for factor in raw.factors],
        "splits": list(splits),
        "arrays": digests,
    }
    whole = json.dumps({**meta, "digest": combined(meta)}, indent=2) + "\n"
    (folder / META).write_text(whole, encoding="utf-8")
    state = state_of(folder, [folder / f"{name}.npy" for name in digests])
    remember(folder / MEMORY, state, combined(digests))


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


def _decode(split: RawSplit, sample: _Sample, path: Path, advance: Callable[[int], None]) -> str:
    """Write the pixels of a split, uint8 [N, C, H, W], one piece per thread at a time.

    Returns:
        Their digest.
    """
    shape = (len(split.rows), *sample.shape)
    images = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
    _reserve(path)

    def fill(start: int) -> bytes:
        rows = split.rows[start : start + ROWS]
        for index, (row, encoded) in enumerate(zip(rows, split.fetch(rows), strict=True), start):
            where = split.where(row, encoded)
            pixels = read_pixels(split.decode, encoded, where, sample.shape[0], sample.size)
            check_size(where, pixels.shape, sample.where, sample.shape)
            images[index] = pixels
        return piece_digest(images[start : start + ROWS])

    def pieces() -> Iterator[bytes]:
        with ThreadPoolExecutor(threads()) as pool:
            starts = range(0, len(split.rows), ROWS)
            for start, piece in zip(starts, pool.map(fill, starts), strict=True):
                advance(min(ROWS, len(split.rows) - start))
                yield piece

    digest = array_digest(images.dtype, images.shape, pieces())
    images.flush()
    return digest


def _reserve(path: Path) -> None:
    """Take a file's room on the disk now: a memory map that finds none later ends by a signal."""
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)


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
