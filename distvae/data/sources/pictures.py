"""A folder of images, or a zip of one: classes and splits by where the files lie."""

import lzma
import os
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from distvae.config import DataConfig
from distvae.data.encoded import decode_image, pictures
from distvae.data.sources.columns import image_column, label_columns
from distvae.data.sources.labels import clean_name, clean_names, some
from distvae.data.sources.raw import Notes, RawData, RawSplit
from distvae.data.sources.refused import ending, how_to_read, instead
from distvae.data.sources.splits import choose_splits, finish, roles
from distvae.errors import DistvaeError, nearest
from distvae.labels import natural_order

DAMAGED = (
    *(OSError, EOFError, NotImplementedError),
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError),
)
"""What reading a damaged member of a zip raises."""
MEMBER_BYTES = 2**28
"""The most that one image in a zip may take."""
Place = tuple[str, ...]
"""The folders above a file and its name, from the top of the data."""


@dataclass(frozen=True, eq=False)
class Tree:
    """Files by place, and how one of them is fetched for ``decode_image``.

    ``hidden`` and ``empty`` are folders of which nothing is read.
    """

    address: str
    places: list[Place]
    hidden: list[str]
    empty: list[str]
    fetch: Callable[[Place], dict[str, Any]]


def folder_tree(path: Path) -> Tree:
    """All files of a folder, in a fixed order."""
    hidden: list[str] = []
    empty: list[str] = []
    places = [file.relative_to(path).parts for file in visible_files(path, hidden, empty)]

    def fetch(place: Place) -> dict[str, Any]:
        return {"bytes": None, "path": str(path.joinpath(*place))}

    return Tree(str(path), places, hidden, empty, fetch)


def visible_files(
    folder: Path, hidden: list[str] | None = None, empty: list[str] | None = None
) -> Iterator[Path]:
    """Every file below a folder that is not hidden, in a fixed order.

    Links to folders are followed, but not to one that they lie in. ``hidden`` and ``empty`` get the
    folders that are so.
    """
    above_of = {str(folder): {os.path.realpath(folder)}}
    for root, folders, files in os.walk(folder, followlinks=True):
        entered = above_of.pop(root)
        above = Path(root).relative_to(folder)
        if empty is not None and not folders and not files:
            empty.append(str(above))
        if hidden is not None:
            hidden += [str(above / name) for name in folders if name.startswith(".")]
        real = {name: os.path.realpath(Path(root, name)) for name in folders if name[0] != "."}
        folders[:] = sorted(name for name in real if real[name] not in entered)
        above_of |= {str(Path(root, name)): {*entered, real[name]} for name in folders}
        yield from (Path(root, name) for name in sorted(files) if not name.startswith("."))


def zip_tree(path: Path) -> Tree:
    """All files of a zip, which is read where it lies: nothing is unpacked.

    Raises:
        DistvaeError: it is damaged, encrypted, or a member lies outside.
    """
    try:
        archive = zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile, NotImplementedError) as error:
        raise DistvaeError(f"{path} cannot be read", f"{type(error).__name__}: {error}") from error
    members: dict[Place, zipfile.ZipInfo] = {}
    for member in archive.infolist():
        place = PurePosixPath(member.filename.replace("\\", "/")).parts
        if member.filename.startswith(("/", "\\")) or ".." in place or place in members:
            raise DistvaeError(
                f"{path} has a member {member.filename!r}",
                "it is there twice, or leads outside",
                "Unpack it with care, and give the folder.",
            )
        if member.flag_bits & 1:
            raise DistvaeError(f"{path} is encrypted", "expected a plain zip", "Unpack it first.")
        if not member.is_dir():
            members[place] = member
    unseen = [place for place in members if any(_is_hidden(part) for part in place)]

    def fetch(place: Place) -> dict[str, Any]:
        where = f"{path}/{'/'.join(place)}"
        try:
            with archive.open(members[place]) as file:
                content = file.read(MEMBER_BYTES + 1)
        except DAMAGED as error:
            raise DistvaeError(
                f"cannot read {where}",
                f"{type(error).__name__}: {error}",
                "Take another copy of the zip.",
            ) from error
        if len(content) > MEMBER_BYTES:
            raise DistvaeError(
                f"{where} is too large", f"expected {MEMBER_BYTES >> 20} MiB at most"
            )
        return {"bytes": content, "path": where}

    folders = {place[:depth] for place in unseen for depth in range(1, len(place))}
    hidden = sorted("/".join(folder) for folder in folders if _is_hidden(folder[-1]))
    return Tree(str(path), sorted(members.keys() - set(unseen)), hidden, [], fetch)


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


@dataclass(frozen=True, eq=False)
class PictureSplit:
    """The images of a split, and the class number of each where they lie in class folders."""

    places: list[Place]
    labels: NDArray[np.int64] | None


class Entry(NamedTuple):
    """An image: its place, and what is left of it below the folder that is looked at."""

    place: Place
    below: Place

    def enter(self) -> "Entry":
        """The same, looked at from one folder further down."""
        return Entry(self.place, self.below[1:])


def read_pictures(tree: Tree, config: DataConfig) -> RawData:
    """Both splits of a folder of images or a zip of one.

    Raises:
        DistvaeError: there are no images, or they lie where no class or split is.
    """
    splits, names, notes = arrange(tree, config)
    check_columns(config)
    bare = {name for name, split in splits.items() if split.labels is None} if names else set()
    train, test = choose_splits(config, list(splits), notes, bare)

    def raw(name: str) -> RawSplit:
        split = splits[name]

        def fetch(rows: NDArray[np.int64]) -> list[Any]:
            return [tree.fetch(split.places[row]) for row in rows.tolist()]

        return RawSplit(name, np.arange(len(split.places)), split.labels, fetch, decode_image)

    return finish(config, raw(train), raw(test) if test else None, names, notes)


def check_columns(config: DataConfig) -> None:
    """A folder has no columns but the image and the class.

    Raises:
        DistvaeError: another column is asked for.
    """
    if config.image_column is not None or config.label_column is not None:
        import datasets

        label = datasets.ClassLabel(names=["..."])
        features = {"image": datasets.Image(), "label": label}
        image_column(features, config.image_column, config.data, [])
        label_columns(features, config.label_column, config.data)


def arrange(
    tree: Tree, config: DataConfig
) -> tuple[dict[str, PictureSplit], tuple[str, ...], Notes]:
    """The images by split, the names of their classes, and what there is to say.

    Subfolders are splits where all of them bear the name of one, or the training split has
    subfolders of its own; the first folder below the split is the class. A folder that holds
    nothing but another one is looked into.

    Raises:
        DistvaeError: there are no images, or some lie beside the class folders.
    """
    images = [Entry(place, place) for place in tree.places if ending(place[-1]) in pictures()]
    if not images:
        raise DistvaeError(f"{tree.address} holds no images", *instead(tree.places))
    notes: Notes = []
    splits = _splits(_unwrapped(images, ()), config, notes)
    train = choose_splits(config, list(splits), [])[0]
    splits[train] = _unwrapped(splits[train], ())
    folders = sorted(
        {entry.below[0] for entry in splits[train] if len(entry.below) > 1}, key=natural_order
    )
    folders = folders if len(folders) > 1 else []
    names = clean_names(folders, tree.address)
    found = {
        name: _labelled(_unwrapped(entries, folders), name, names)
        for name, entries in splits.items()
    }
    inner = {"/".join(entry.below[:2]) for entry in splits[train] if len(entry.below) > 2}
    if names and inner:
        notes.append(
            f"classes are the outer folders; within them no label is {some(sorted(inner))}"
        )
    _tell_skipped(tree, names, notes)
    return found, names, notes


def _unwrapped(entries: list[Entry], classes: Collection[str]) -> list[Entry]:
    """The images seen from below the folders that hold nothing but one other folder."""
    while len(tops := {entry.below[0] for entry in entries}) == 1 and not tops & set(classes):
        if min(len(entry.below) for entry in entries) < 3:
            break
        entries = [entry.enter() for entry in entries]
    return entries


def _splits(entries: list[Entry], config: DataConfig, notes: Notes) -> dict[str, list[Entry]]:
    folders = sorted({entry.below[0] for entry in entries if len(entry.below) > 1})
    wanted = {config.split_train, config.split_test or "test", "train"}
    named = {name for name in folders if name in wanted} | roles(folders).keys()
    training = [name for name, role in roles(folders).items() if role == "train"]
    training = [config.split_train] if config.split_train in folders else training
    nested = any(entry.below[0] in training and len(entry.below) > 2 for entry in entries)
    if not folders or not (nested or (named >= set(folders) and (training or len(folders) > 1))):
        return {"train": entries}
    inside = [entry for entry in entries if entry.below[0] in named and len(entry.below) > 1]
    if outside := len(entries) - len(inside):
        lost = sorted(set(folders) - named)
        where = f" (folders {some(lost)})" if lost else ""
        notes.append(f"left out: {outside:,} images beside the folders of the splits{where}")
    return {
        name: [entry.enter() for entry in inside if entry.below[0] == name]
        for name in folders
        if name in named
    }


def _labelled(entries: list[Entry], split: str, names: tuple[str, ...]) -> PictureSplit:
    places = [entry.place for entry in entries]
    if not names or all(len(entry.below) == 1 for entry in entries):
        return PictureSplit(places, None)
    index = {name: number for number, name in enumerate(names)}
    numbers = []
    for entry in entries:
        folder = clean_name(entry.below[0])
        if len(entry.below) == 1:
            raise DistvaeError(
                f"{'/'.join(entry.place)} lies beside the class folders {some(names)}",
                "expected every image inside one of them",
                "Move or remove it.",
            )
        if folder not in index:
            raise DistvaeError(
                f"split {split} has a class folder {folder}",
                f"the training split has {some(names)}",
                nearest(folder, names) or "Move or remove it.",
            )
        numbers.append(index[folder])
    return PictureSplit(places, np.array(numbers, np.int64))


def _tell_skipped(tree: Tree, names: tuple[str, ...], notes: Notes) -> None:
    """Files that are no images, by ending and folder, and classes that have nothing else."""
    skipped: dict[str, Counter[str]] = {}
    for place in tree.places:
        if (found := ending(place[-1])) not in pictures():
            folder = place[-2] if len(place) > 1 else "the top folder"
            skipped.setdefault(found, Counter())[folder] += 1
    for found, folders in sorted(skipped.items()):
        count = sum(folders.values())
        where = some([f"{folder} {number}" for folder, number in sorted(folders.items())])
        told = f"skipped: {count:,} {found or 'endless'} file{'s' if count > 1 else ''} ({where})"
        notes.append(f"{told}; {hint}" if (hint := how_to_read(found)) else told)
    if tree.empty:
        notes.append(f"skipped: empty folders {some(tree.empty)}")
    if tree.hidden:
        notes.append(f"skipped: hidden folders {some(tree.hidden)}")
