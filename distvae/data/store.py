"""Stored examples on disk: one memory map per field and split, built once, then only opened.

A store is a folder named after its data and a digest of everything that decides its content. It is
built beside its final place and renamed as a whole, so it is there completely or not at all. Its
arrays have digests, by which a damaged one is noticed and which are the identity of the data.
"""

import dataclasses
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distvae.config import DataConfig
from distvae.data import crops
from distvae.data.cache import building, cache_folder
from distvae.data.decoding import write_arrays
from distvae.data.encoded import AVIF, HEIF, pictures
from distvae.data.identity import (
    Progress,
    combined,
    digest_of,
    remember,
    remembered,
    state_of,
)
from distvae.data.image_data import ImageData, Split
from distvae.data.npy import mapped
from distvae.data.numeric import write_examples
from distvae.data.pixels import Reading
from distvae.data.seen import Seen
from distvae.data.sources import RawData, Source, load_source
from distvae.data.sources.attributes import labels_of, measured, missing_values
from distvae.data.sources.labels import missing_labels
from distvae.data.sources.only import only_labels
from distvae.data.store_record import StoreRecord
from distvae.data.streaming import SAMPLE, Stream, open_stream, resident_part
from distvae.data.validation import with_validation
from distvae.data.views import CROP
from distvae.domains import DOMAINS
from distvae.domains.images import IMAGES
from distvae.draws.philox import CHANCE
from distvae.errors import DistvaeError
from distvae.files import reporting_disk_errors, write_json
from distvae.reading import read_record
from distvae.terminal import make_console, progress_bar
from distvae.text import printable

__all__ = ["CONTENT_SETTINGS", "ImageData", "Progress", "Split", "cache_folder", "open_data"]

FORMAT = 4
META, MEMORY = "meta.json", "verified.json"
CONTENT_SETTINGS = (
    *("image_column", "label_column", "image_size", "channels", "white", "bits", "patch"),
    *("split_train", "split_test", "split_validation", "split_seed"),
)
"""Settings that decide which pixels and labels a store holds."""


def open_data(config: DataConfig, progress: Progress | None = None) -> ImageData:
    """The data that a configuration asks for, decoded on the first call and only opened later.

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
        kept = {name: digest for name, digest in digests.items() if not name.startswith("train ")}
        digests = {"train files": source.identity, **kept}
    return dataclasses.replace(
        data,
        name=source.name,
        source=source.address,
        fingerprint=combined(digests)[:16],
        stream=stream and dataclasses.replace(stream, reading=Reading.of(data.seen, config)),
        pictures=data.pictures and data.pictures.with_epochs_of(config.epoch_images),
        digests=digests,
    )


def _open_or_build(
    source: Source, stream: Stream | None, config: DataConfig, progress: Progress
) -> ImageData:
    cache = cache_folder(config)
    folder = cache / f"{source.name}-{_key(source, config)}"
    if data := _open_store(folder, progress):
        if config.domain not in (None, data.domain):
            source.read()  # tells why there are none
        return data
    guard = reporting_disk_errors(
        f"decoded images cannot be written to {cache}", cache, next_step="--cache-dir names it."
    )
    with guard, building(folder) as scratch:
        if data := _open_store(folder, progress, tell=True):  # another process was first
            return data
        if folder.exists():  # damaged: out of the way, and gone with the scratch folder
            folder.rename(scratch / "damaged")
        raw = source.read() if stream is None else resident_part(stream, scratch)
        raw = only_labels(raw, config)
        raw = with_validation(raw, config, lambda other: only_labels(_read(other, scratch), other))
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


def _key(source: Source, config: DataConfig) -> str:
    """16 hex digits of everything that decides what a store holds, and whether it may."""
    settings = {name: getattr(config, name) for name in (*CONTENT_SETTINGS, "allow_outside")}
    content = [FORMAT, source.identity, settings]
    content += [SAMPLE, CHANCE] if config.streaming else []  # of these the sample is drawn
    content += [] if config.domain in (None, IMAGES) else [config.domain]
    content += [[CROP, config.shorter_side]] if CROP in config.augment else []
    content += [] if config.only_label is None else [f"only {config.only_label}"]
    content += sorted(pictures() & set(HEIF)) + sorted(set(AVIF) - pictures())
    return combined(content)[:16]


def _open_store(folder: Path, progress: Progress, tell: bool = False) -> ImageData | None:
    """The store in a folder, or None where there is none or a damaged one."""
    if not (folder / META).exists():
        return None
    try:
        meta = read_record(folder / META, StoreRecord)
        arrays = {name: mapped(folder / f"{name}.npy") for name in meta.arrays}
        _verify(folder, meta.arrays, arrays, progress)
        return _opened(meta, arrays)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        if tell:
            why = str(error).partition("\n")[0]
            note = f"warning: the decoded images in {folder} are damaged ({why}); decoding anew"
            make_console(stderr=True).print(note)
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


def _opened(meta: StoreRecord, arrays: Mapping[str, NDArray[Any]]) -> ImageData:
    """A store from its metadata and its arrays, of which only the fields stay on disk."""
    splits: dict[str, Any] = {}
    for name in meta.splits:
        parts = (arrays.get(f"{name}-{part}") for part in ("labels", "rows", "attributes"))
        labels, rows, values = (None if part is None else np.array(part) for part in parts)
        if values is not None:
            labels = labels_of(meta.attributes, values)
        fields = {field: arrays[f"{name}-{field}"] for field in meta.fields}
        splits[name] = Split(fields, labels, rows, values)
    digests = {name.replace("-", " "): digest for name, digest in meta.arrays.items()}
    return ImageData(
        name=meta.name,
        source=meta.source,
        fingerprint="",
        **splits,
        test_origin=meta.test_origin,
        validation_origin=meta.validation_origin,
        label_names=meta.label_names,
        factors=meta.factors,
        notes=meta.notes,
        seen=Seen(*meta.seen),
        pictures=crops.opened(arrays, meta.fields[0]),
        domain=meta.known_domain,
        columns=meta.columns,
        attributes=meta.attributes,
        facts=meta.facts,
        digests={**digests, **_named(meta)},
    )


def _named(meta: StoreRecord) -> dict[str, str]:
    """Digests of what labels and attributes are called."""
    result = {"label names": combined(list(meta.label_names))}
    if meta.attributes:
        known = [[each.name, *each.labels] for each in meta.attributes]
        result["attributes"] = combined(known)
    if meta.facts:
        result["facts"] = combined(meta.facts)
    return result


def _build(
    folder: Path, source: Source, raw: RawData, config: DataConfig, progress: Progress
) -> None:
    """Decode all splits into a new folder; its metadata is written last."""
    splits, attributes = raw.splits, measured(raw.attributes, raw.splits, config.streaming)
    missing = (
        missing_values(attributes, splits, sample=config.streaming)
        if attributes
        else missing_labels(
            {name: split.labels for name, split in splits.items()}, sample=config.streaming
        )
    )
    folder.mkdir()
    domain = DOMAINS[raw.domain]
    decoded = domain.part.material == "pictures"
    write = write_arrays if decoded else partial(write_examples, domain)
    written = write(
        folder,
        splits,
        bool(raw.factors),
        config,
        lambda split, total: progress(f"decoding {source.name} {split}", total),
    )
    meta = {
        "name": source.name,
        "source": source.address,
        "test_origin": raw.test_origin,
        "validation_origin": raw.validation_origin,
        "label_names": list(raw.label_names),
        "factors": [dataclasses.asdict(factor) for factor in raw.factors],
        "notes": [printable(note) for note in (*raw.notes, *missing, *written.notes)],
        "seen": list(written.seen),
        "splits": list(splits),
        "fields": list(written.fields),
        "domain": raw.domain,
        "columns": list(raw.columns),
        "attributes": [dataclasses.asdict(each) for each in attributes],
        "facts": {**raw.facts, **written.facts},
        "arrays": written.digests,
    }
    write_json(folder / META, meta)
    state = state_of(folder, [folder / f"{name}.npy" for name in written.digests])
    remember(folder / MEMORY, state, combined(written.digests))
