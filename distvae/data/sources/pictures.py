"""A folder of images, or a zip of one: classes and splits by where the files lie."""

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from distvae.config import DataConfig
from distvae.data.encoded import decode_image, pictures
from distvae.data.sources.columns import image_column, label_columns
from distvae.data.sources.labels import clean_name, clean_names
from distvae.data.sources.raw import Notes, RawData, RawSplit
from distvae.data.sources.refused import ending, how_to_read, instead
from distvae.data.sources.splits import choose_splits, finish, roles
from distvae.data.sources.trees import Place, Tree
from distvae.errors import DistvaeError, nearest
from distvae.labels import natural_order
from distvae.text import counted, some

IMAGES = ("image", "img", "jpegimage", "picture", "photo", "original")
MASKS = ("mask", "annotation", "segmentation", "label", "groundtruth", "ground_truth", "gt")
"""Folders, but for their plural, that are no classes where there are no others."""


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

        def files(rows: NDArray[np.int64]) -> list[str]:
            return ["/".join(split.places[row]) for row in rows.tolist()]

        rows = np.arange(len(split.places))
        return RawSplit(name, rows, split.labels, fetch, decode_image, names=files)

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

    Raises:
        DistvaeError: there are no images, or some lie beside the class folders.
    """
    images = [place for place in tree.places if ending(place[-1]) in pictures()]
    if not images:
        raise DistvaeError(
            f"{tree.address} holds no images",
            *instead(tree.places, packed=ending(tree.address) == ".zip"),
        )
    notes: Notes = []
    found, names = by_folder(images, tree.address, config, notes)
    _tell_skipped(tree, names, notes)
    return found, names, notes


def by_folder(
    places: Iterable[Place], address: str, config: DataConfig, notes: Notes, what: str = "images"
) -> tuple[dict[str, PictureSplit], tuple[str, ...]]:
    """Examples by split, and the names of their classes.

    Subfolders are splits where all of them bear the name of one, or the training split has
    subfolders of its own; the first folder below the split is the class. A folder that holds
    nothing but another one is looked into.

    Args:
        places: of the examples, at least one.
        address: of the folder, for messages.
        config: of the data.
        notes: is told what was recognized.
        what: the examples are called.

    Raises:
        DistvaeError: some lie beside the class folders.
    """
    entries = _unwrapped([Entry(place, place) for place in places], ())
    splits = {
        name: _without_masks(inside, notes, what)
        for name, inside in _splits(entries, config, notes, what).items()
    }
    train = choose_splits(config, list(splits), [])[0]
    splits[train] = _unwrapped(splits[train], ())
    folders = sorted(
        {entry.below[0] for entry in splits[train] if len(entry.below) > 1}, key=natural_order
    )
    if len(folders) == 1:
        notes.append(f"all {what} lie in one folder, {folders[0]}: they have no labels")
    folders = folders if len(folders) > 1 else []
    names = clean_names(folders, address)
    found = {
        name: _labelled(_unwrapped(entries, folders), name, names)
        for name, entries in splits.items()
    }
    inner = {"/".join(entry.below[:2]) for entry in splits[train] if len(entry.below) > 2}
    if names and inner:
        notes.append(
            f"classes are the outer folders; within them no label is {some(sorted(inner))}"
        )
    return found, names


def _without_masks(entries: list[Entry], notes: Notes, what: str) -> list[Entry]:
    """The images alone where they lie in a folder called so, beside one of their masks."""
    folders = {entry.below[0]: entry.below[0].casefold() for entry in entries}
    masks = [folder for folder, name in folders.items() if name.rstrip("s") in MASKS]
    if not masks or any(name.rstrip("s") not in (*MASKS, *IMAGES) for name in folders.values()):
        return entries
    if not (kept := [entry for entry in entries if entry.below[0] not in masks]):
        return entries
    notes.append(f"left out: {len(entries) - len(kept):,} {what} in {some(masks)}: no classes")
    return kept


def _unwrapped(entries: list[Entry], classes: Collection[str]) -> list[Entry]:
    """The images seen from below the folders that hold nothing but one other folder."""
    while len(tops := {entry.below[0] for entry in entries}) == 1 and not tops & set(classes):
        if min(len(entry.below) for entry in entries) < 3:
            break
        entries = [entry.enter() for entry in entries]
    return entries


def _splits(
    entries: list[Entry], config: DataConfig, notes: Notes, what: str
) -> dict[str, list[Entry]]:
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
        notes.append(f"left out: {counted(outside, what)} beside the folders of the splits{where}")
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
                "expected each inside one of them",
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
        note = f"skipped: {count:,} {found or 'endless'} file{'s' if count > 1 else ''} ({where})"
        hint = how_to_read(found, packed=ending(tree.address) == ".zip")
        notes.append(f"{note}; {hint}" if hint else note)
    if tree.empty:
        notes.append(f"skipped: empty folders {some(tree.empty)}")
    if tree.hidden:
        notes.append(f"skipped: hidden folders {some(tree.hidden)}")
