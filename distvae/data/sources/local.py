"""Images in local files: what a file or folder holds, and which files decide its content."""

import csv
import glob
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from distvae.config import DataConfig
from distvae.data.cache import cache_folder
from distvae.data.identity import Progress, files_identity
from distvae.data.sources.columns import IMAGE_COLUMNS
from distvae.data.sources.raw import TEST_SPLITS
from distvae.errors import DistvaeError
from distvae.labels import natural_order

TABLES = {".parquet": "parquet", ".arrow": "arrow", ".csv": "csv"}
FACTORS = ".npz"
PICTURES = frozenset(
    f".{name}" for name in ("png", "jpg", "jpeg", "webp", "gif", "bmp", "tif", "tiff", "ppm", "pgm")
)


def load_local(path: Path, config: DataConfig) -> Mapping[str, Any]:
    """All splits of a file or folder; parquet and arrow files as streams where so configured.

    Raises:
        DistvaeError: it holds neither images nor a table, or cannot be read.
    """
    import datasets

    # A csv deeper down is an annotation beside images, not the table itself.
    files = list(_files(path)) if path.is_dir() else [path]
    tables = [file for file in files if file.suffix != ".csv" or file.parent in (path, path.parent)]
    try:
        if (path / "dataset_dict.json").exists() or (path / "state.json").exists():
            loaded = datasets.load_from_disk(str(path))
            return dict(loaded) if isinstance(loaded, dict) else {"train": loaded}
        for suffix, kind in TABLES.items():
            if chosen := [file for file in tables if file.suffix == suffix]:
                splits = _splits_of_tables(path, chosen, config)
                if config.streaming and kind != "csv":  # a csv holds no more than paths
                    return _streams(kind, splits)
                return dict(datasets.load_dataset(kind, data_files=splits))
    except Exception as error:  # an empty split alone raises three kinds, by format
        cause = error.__cause__ or error
        raise DistvaeError(
            f"{path} could not be read by datasets",
            f"{type(cause).__name__}: {cause}".splitlines()[0].rstrip(". "),
            "Every split needs at least one row, and every file must be whole.",
        ) from error
    pictures = [file for file in files if file.suffix.lower() in PICTURES]
    if not pictures:
        raise DistvaeError(
            f"{path} holds no images",
            "expected one subfolder of images per class, parquet, csv or arrow files, or what "
            "save_to_disk wrote",
        )
    return _image_folder(path, pictures, config)


def _image_folder(path: Path, pictures: list[Path], config: DataConfig) -> dict[str, Any]:
    """Splits of a folder of images; the first folder below the split is the class.

    Subfolders are splits where all of them bear the name of one, or the training split has
    subfolders of its own. Built here and not by the ``imagefolder`` builder, which guesses splits
    from any ``test`` in a file's name and reads ``[`` in a path as a pattern.
    """
    parts = {file: file.relative_to(path).parts for file in pictures}
    names = _split_names(config)
    folders = {part[0] for part in parts.values() if len(part) > 1}
    nested = any(part[0] == config.split_train and len(part) > 2 for part in parts.values())
    if config.split_train in folders and (nested or folders <= names):
        splits = {
            name: {file: part[1:] for file, part in parts.items() if part[0] == name}
            for name in sorted(folders & names)
        }
    else:
        splits = {"train": parts}
    return {name: _labelled_by_folder(split) for name, split in splits.items()}


def _labelled_by_folder(parts: Mapping[Path, tuple[str, ...]]) -> Any:
    """A table of image files, with labels where they lie in two or more class folders."""
    import datasets

    features = datasets.Features(image=datasets.Image())
    cells: dict[str, list[Any]] = {"image": [str(file) for file in parts]}
    classes = sorted({part[0] for part in parts.values() if len(part) > 1}, key=natural_order)
    if len(classes) > 1:
        stray = next((file for file, part in parts.items() if len(part) == 1), None)
        if stray is not None:
            raise DistvaeError(
                f"{stray} lies beside the class folders {', '.join(classes[:8])}",
                "expected every image inside one of them",
                "Move or remove it.",
            )
        index = {name: number for number, name in enumerate(classes)}
        features["label"] = datasets.ClassLabel(names=classes)
        cells["label"] = [index[part[0]] for part in parts.values()]
    return datasets.Dataset.from_dict(cells, features=features)


def _splits_of_tables(path: Path, tables: list[Path], config: DataConfig) -> dict[str, list[str]]:
    """Table files by split: the first word in a file's path that is the name of one, else train."""
    names = _split_names(config)
    splits: dict[str, list[str]] = {}
    for file in tables:
        below = file.relative_to(path)
        words = [below.stem, *re.split(r"[^A-Za-z0-9]", str(below))]
        split = next((word for word in words if word in names), "train")
        splits.setdefault(split, []).append(glob.escape(str(file)))
    return splits


def _streams(kind: str, splits: Mapping[str, list[str]]) -> dict[str, Any]:
    """Streams of table files; those of parquet know their number of rows from its footers."""
    import datasets
    from pyarrow import parquet

    streams = dict(datasets.load_dataset(kind, data_files=dict(splits), streaming=True))
    for name, stream in streams.items() if kind == "parquet" else ():
        files = [file for pattern in splits[name] for file in glob.glob(pattern)]  # noqa: PTH207
        rows = sum(parquet.read_metadata(file).num_rows for file in files)
        stream.info.splits = datasets.SplitDict()
        stream.info.splits.add(datasets.SplitInfo(name, num_examples=rows))
    return streams


def _split_names(config: DataConfig) -> set[str]:
    return {config.split_train, config.split_test or "test", "train", *TEST_SPLITS}


def local_identity(path: Path, config: DataConfig, progress: Progress | None = None) -> str:
    """The digest of every file that the images depend on; streamed ones are sampled.

    Raises:
        DistvaeError: the file is no table, or a file that belongs to the images is missing.
    """
    if path.is_dir():
        files = list(_files(path))
    elif path.suffix in (*TABLES, FACTORS):
        files = [path, *(_csv_images(path, config) if path.suffix == ".csv" else ())]
    else:
        raise DistvaeError(
            f"{path} is no table of images",
            f"expected a file that ends in {', '.join(TABLES)}, dSprites' npz, or a folder",
        )
    root = path if path.is_dir() else path.parent
    return files_identity(root, files, cache_folder(config), config.streaming, progress)


def _csv_images(path: Path, config: DataConfig) -> Iterator[Path]:
    """The image files that a csv names.

    Raises:
        DistvaeError: one of them does not exist.
    """
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        reader = csv.DictReader(file)
        usual = (name for name in IMAGE_COLUMNS if name in (reader.fieldnames or ()))
        column = config.image_column or next(usual, None)
        for row in reader:
            if name := row.get(column or ""):
                if not (image := path.parent / name).is_file():
                    raise DistvaeError(
                        f"{path}, line {reader.line_num}: there is no image file {image}",
                        f"column {column} holds paths relative to {path.parent}",
                    )
                yield image


def _files(folder: Path) -> Iterator[Path]:
    """Every file below a folder that is not hidden, in a fixed order."""
    for root, folders, files in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(root, name) for name in sorted(files) if not name.startswith("."))
