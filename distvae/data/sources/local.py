"""Images in local files: what a file or folder holds, and which files decide its content."""

import dataclasses
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from distvae.config import DataConfig
from distvae.data.cache import cache_folder
from distvae.data.encoded import pictures
from distvae.data.identity import Progress, check_regular, files_identity
from distvae.data.roots import Root
from distvae.data.sources.arrays import read_arrays
from distvae.data.sources.cifar import is_batch, label_files, read_cifar, refuse_pickles
from distvae.data.sources.idx import is_idx, kin, read_idx_files
from distvae.data.sources.named import columns_of_paths, named_images, paths_in
from distvae.data.sources.numpy_files import NUMPY, read_numpy
from distvae.data.sources.pictures import arrange, read_pictures
from distvae.data.sources.raw import RawData, Tables
from distvae.data.sources.refused import ending, refuse_file
from distvae.data.sources.tables import load_tables, picture_tables, read_tables
from distvae.data.sources.text import TEXT, TextTables, read_text_tables
from distvae.data.sources.trees import folder_tree, visible_files, zip_tree

TABLES = {".parquet": "parquet", ".arrow": "arrow"}
FILES = (*TABLES, *TEXT, *NUMPY, ".zip", ".bin")
ANNOTATION = "metadata"
"""What a table beside images may be called in a subfolder, where others are none of the data's."""


class Found(NamedTuple):
    """What a path holds: the kind, and the files that are of it."""

    kind: str
    files: list[Path]
    notes: list[str]


def find(path: Path) -> Found:
    """What a file or folder holds.

    Raises:
        DistvaeError: nothing that is read here.
    """
    if path.is_file():
        return Found(_kind_of_file(path), kin(path) if is_idx(path) else [path], [])
    if (path / "dataset_dict.json").exists() or (path / "state.json").exists():
        return Found("saved", [path], [])
    files = list(visible_files(path))
    top = [file for file in files if file.parent == path]
    by_kind = {
        "cifar": [file for file in files if is_batch(file)],
        "idx": [file for file in files if is_idx(file)],
        **{
            kind: [file for file in files if ending(file.name) == suffix]
            for suffix, kind in TABLES.items()
        },
        "text": [
            file
            for file in files
            if ending(file.name) in TEXT and (file in top or file.stem.lower() == ANNOTATION)
        ],
        "numpy": [file for file in top if ending(file.name) in NUMPY],
    }
    refuse_pickles(files)
    for kind, chosen in by_kind.items():
        if chosen:
            return Found(kind, chosen, _left(files, chosen, kind))
    return Found("pictures", [path], [])


def _kind_of_file(path: Path) -> str:
    suffix = ending(path.name)
    kinds = {**TABLES, **dict.fromkeys(TEXT, "text"), **dict.fromkeys(NUMPY, "numpy")}
    kind = kinds.get(suffix) or {".zip": "zip", ".bin": "cifar"}.get(suffix)
    kind = "idx" if is_idx(path) else kind
    if kind is None:
        raise refuse_file(path, FILES)
    return kind


def _left(files: Sequence[Path], chosen: Sequence[Path], kind: str) -> list[str]:
    """What is said of files that could be data too; images beside a table are perhaps its own."""
    others = set(files) - set(chosen)
    endings = {*TABLES, *TEXT, *NUMPY, ".zip", *(() if kind == "text" else pictures())}
    counts = Counter(ending(file.name) for file in others if ending(file.name) in endings)
    counted = ", ".join(f"{count} {suffix}" for suffix, count in sorted(counts.items()))
    return [f"the {kind} files are read; left out: {counted} files"] if counted else []


def read_local(path: Path, config: DataConfig) -> RawData:
    """Both splits of a file or folder.

    Raises:
        DistvaeError: it holds neither images nor a table, or cannot be read.
    """
    found = find(path)
    match found.kind:
        case "cifar":
            return read_cifar(found.files, config, found.notes)
        case "idx":
            return read_idx_files(found.files, config, found.notes)
        case "numpy":
            return read_numpy(found.files, config, found.notes)
        case "zip":
            return read_pictures(zip_tree(path), config)
        case "pictures":
            return read_pictures(folder_tree(path), config)
    if found.kind == "text":
        text = read_text_tables(path, found.files, config, found.notes)
        if (arrays := text.pixels(config)) is not None:
            return read_arrays(config, arrays, (), text.notes)
        if _only_beside(path, text, config):
            raw = read_pictures(folder_tree(path), config)
            return dataclasses.replace(raw, notes=(*text.unused(), *raw.notes))
        unnamed = _unnamed(path, text, config)
        return read_tables(text.as_tables(root_of(path, config), unnamed), config)
    return read_tables(_tables(path, found, config), config)


def load_local(path: Path, config: DataConfig) -> Tables | None:
    """A file or folder as tables of ``datasets``, as streams where so configured and possible.

    None says that it holds arrays or a zip, which are no tables.

    Raises:
        DistvaeError: it holds neither images nor a table, or cannot be read.
    """
    found = find(path)
    if found.kind in ("cifar", "idx", "numpy", "zip"):
        return None
    if found.kind == "text":
        text = read_text_tables(path, found.files, config, found.notes)
        if text.pixels(config) is not None:
            return None
        if not _only_beside(path, text, config):
            unnamed = _unnamed(path, text, config)
            return text.as_tables(root_of(path, config), unnamed)
    elif found.kind != "pictures":
        return _tables(path, found, config)
    return picture_tables(path, *arrange(folder_tree(path), config))


def _tables(path: Path, found: Found, config: DataConfig) -> Tables:
    tables = load_tables(path, found.kind, found.files, config, found.notes)
    return Tables(tables, found.notes, root_of(path, config))


def _only_beside(path: Path, text: TextTables, config: DataConfig) -> bool:
    """Whether a folder has images, and tables beside them that name none."""
    if text.names_images(config) or not path.is_dir() or config.image_column is not None:
        return False
    return any(ending(file.name) in pictures() for file in visible_files(path))


def _unnamed(path: Path, text: TextTables, config: DataConfig) -> list[str]:
    """What is said of images in a folder that its tables do not name."""
    if not path.is_dir():
        return []
    there = [file for file in visible_files(path) if ending(file.name) in pictures()]
    columns = {name: columns_of_paths(table.schema, config) for name, table in text.splits.items()}
    named = {
        os.path.normpath(path / value)
        for name, table in text.splits.items()
        for column in columns[name][:1]
        for value in paths_in(table, column)
        if value
    }
    left = sum(str(file) not in named for file in there)
    return [f"left out: {left:,} of {len(there):,} images, which no row names"] if left else []


def root_of(path: Path, config: DataConfig) -> Root:
    """Where the images of a table lie."""
    return Root(path if path.is_dir() else path.parent, config.allow_outside)


def local_identity(path: Path, config: DataConfig, progress: Progress | None = None) -> str:
    """The digest of every file that the images depend on; streamed ones are sampled.

    Raises:
        DistvaeError: the file is no data, or a file that belongs to the images is missing or lies
            where it may not.
    """
    root = root_of(path, config)
    found = None if path.is_dir() else find(path)
    files = list(visible_files(path)) if found is None else found.files
    check_regular(file for file in files if ending(file.name) in (*FILES, *pictures()))
    known = set(files)
    for kind, tables in _tables_in(files, config).items():
        named = named_images(kind, path, tables, config, root)
        files += [file for file in dict.fromkeys(named) if file not in known]
    if found is not None and found.kind == "cifar":
        files += label_files(path.parent)
    return files_identity(root.folder, files, cache_folder(config), config.streaming, progress)


def _tables_in(files: Sequence[Path], config: DataConfig) -> dict[str, list[Path]]:
    """The tables among files that may name images, by kind."""
    kinds = {**dict.fromkeys(TEXT, "text"), **({} if config.streaming else TABLES)}
    result: dict[str, list[Path]] = {}
    for file in files:
        if kind := kinds.get(ending(file.name)):
            result.setdefault(kind, []).append(file)
    return result
