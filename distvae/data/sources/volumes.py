"""Volumes by split and label, and which levels their values become.

Legend: D depth, H height, W width.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from distvae.attributes import Attribute, label_attribute
from distvae.config import DataConfig
from distvae.data.levels import depth_white
from distvae.data.sources.pictures import by_folder
from distvae.data.sources.raw import Notes, RawData, RawSplit
from distvae.data.sources.scans import Leveled, Scan, ScanFile
from distvae.data.sources.splits import choose_splits, finish
from distvae.data.sources.trees import Place, visible_files
from distvae.data.sources.volume_files import is_volume, scans_in
from distvae.data.sources.volume_labels import Labels, labels_beside
from distvae.domains.levels import LEVELS, MOST_LEVELS
from distvae.domains.volume_files import Grid
from distvae.domains.volumes import Volumes, VolumesPart
from distvae.errors import DistvaeError
from distvae.terminal import progress_bar
from distvae.text import counted

VOLUMES, SIDES = "volumes", ("slices", "rows", "columns")
PATCH = 32
SHARE = 10
"""A tenth of the only volume is held out."""
ALIKE = 0.01
"""By how much spacings may differ, of themselves."""
KEPT = 4
"""Volumes that are kept open; those of .npy and .nii lie in memory maps."""


class Facts(NamedTuple):
    """What is known of volumes before their patches are cut."""

    shapes: list[tuple[int, ...]]
    lowest: float
    highest: float
    whole: bool
    kinds: set[str]
    spacing: tuple[float, float, float]


def read_volumes(path: Path, config: DataConfig) -> RawData:
    """Both splits of the volumes in a file or folder, of which a model sees patches.

    Raises:
        DistvaeError: there are none, or they do not fit each other.
    """
    notes: Notes = []
    found = _found(path, notes)
    splits, names = by_folder(found, str(path), config, notes, VOLUMES)
    train, test = choose_splits(config, list(splits), notes)
    chosen = {name: splits[name] for name in (train, test) if name is not None}
    scans = [found[place] for split in chosen.values() for place in split.places]
    facts = _look(scans)
    patch = _patch(config.of(VolumesPart).patch, facts, scans)
    grid, levels = _grid(facts, config)
    notes.insert(0, _told(scans, facts, grid, levels, patch))
    cut = Wholes(scans, grid, levels, patch)
    by_split = {name: split.labels for name, split in chosen.items() if split.labels is not None}
    beside = Labels(by_split, names)
    if not names:
        of_split = {name: [found[at] for at in split.places] for name, split in chosen.items()}
        beside = labels_beside(path, of_split, config, notes)
    first, *others = (
        cut.split(name, [scans.index(found[place]) for place in split.places], beside)
        for name, split in chosen.items()
    )
    if len(scans) == 1:
        first, *others = cut.parted(facts.shapes[0], notes)
    given = () if beside.given is None or beside.given.is_label else beside.given.attributes
    raw = finish(
        config, first, others[0] if others else None, beside.names, notes, attributes=given
    )
    known = {"levels": levels, **grid._asdict()}
    return dataclasses.replace(raw, domain=VOLUMES, facts=known)


def read_wholes(
    path: Path, config: DataConfig, domain: Volumes
) -> tuple[dict[str, RawSplit], tuple[Attribute, ...], Notes]:
    """All volumes of a file or folder by split, in the levels of a model; what they are given.

    Raises:
        DistvaeError: there are none.
    """
    notes: Notes = []
    found = _found(path, notes)
    splits, names = by_folder(found, str(path), config, notes, VOLUMES)
    scans = [found[place] for split in splits.values() for place in split.places]
    by_split = {name: split.labels for name, split in splits.items() if split.labels is not None}
    beside = Labels(by_split, names)
    if not names:
        of_split = {name: [found[at] for at in split.places] for name, split in splits.items()}
        beside = labels_beside(path, of_split, config, notes)
    cut = Wholes(scans, domain.grid, domain.levels, max(domain.shape))
    wholes = {
        name: cut.split(name, [scans.index(found[place]) for place in split.places], beside)
        for name, split in splits.items()
    }
    given = beside.given
    if given is None or given.is_label:
        return wholes, label_attribute(beside.names), notes
    return wholes, given.attributes, notes


def _found(path: Path, notes: Notes) -> dict[Place, ScanFile]:
    """The volumes of a file or folder by where they lie.

    Raises:
        DistvaeError: there are none.
    """
    if found := {_place(scan, path): scan for scan in scans_in(path, notes)}:
        return found
    raise DistvaeError(
        f"{path} holds no volumes",
        "expected .nii, .nii.gz, .dcm, .tif or .npy files",
        "A folder of pictures is trained on without --domain.",
    )


def _place(scan: ScanFile, path: Path) -> Place:
    """Where a volume lies: the folders above it, of a series above its own, and a name."""
    above = scan.path.parent.relative_to(path).parts if path.is_dir() else ()
    return (*(above[:-1] if scan.series else above), scan.name)


@dataclass(frozen=True, eq=False)
class Wholes:
    """Volumes as levels, of which the last few files are kept open."""

    scans: Sequence[ScanFile]
    grid: Grid
    levels: int
    side: int
    """Of a patch."""

    @functools.cached_property
    def volume(self) -> Callable[[int], Leveled]:
        """A volume by its number."""

        @functools.lru_cache(KEPT)
        def load(number: int) -> Leveled:
            return Leveled(self.scans[number].read(), self.grid, self.levels)

        return load

    def split(
        self,
        name: str,
        numbers: Iterable[int],
        beside: Labels | None = None,
        cut: tuple[slice, ...] = (),
    ) -> RawSplit:
        """That of some volumes, or of a part of each.

        Args:
            name: of the split.
            numbers: of the volumes.
            beside: what the volumes are given.
            cut: the part.
        """

        def fetch(rows: NDArray[np.int64]) -> list[Leveled]:
            return [self.volume(number).cut(cut) for number in rows.tolist()]

        def names(rows: NDArray[np.int64]) -> list[str]:
            return [self.scans[number].name for number in rows.tolist()]

        rows, view = np.array([*numbers], np.int64), (1, self.side, self.side, self.side)
        labels = None if beside is None else beside.numbers.get(name)
        split = RawSplit(name, rows, labels, fetch, lambda row, _: row, names=names, view=view)
        given = None if beside is None else beside.given
        return split if given is None else given.described(split)

    def parted(self, shape: tuple[int, ...], notes: Notes) -> tuple[RawSplit, RawSplit]:
        """Both splits of the only volume: its last tenth along its longest side is tested on.

        Args:
            shape: of the volume.
            notes: is told so.

        Raises:
            DistvaeError: it is too small for two patches.
        """
        axis = int(np.argmax(shape))
        held = max(self.side, shape[axis] // SHARE)
        if shape[axis] < self.side + held:
            sides = " x ".join(map(str, shape))
            raise DistvaeError(
                f"{self.scans[0].name} is the only volume, of {sides} voxels",
                f"it has no room for a patch of {self.side} to train on and one to test on",
                f"Take --patch {max(shape) // 2} or less, or add a volume.",
            )
        end = shape[axis] - held
        parts = [
            (*[slice(None)] * axis, slice(start, stop)) for start, stop in ((0, end), (end, None))
        ]
        notes.append(
            f"no test split: the last {held} of {shape[axis]} {SIDES[axis]} of the only volume are "
            "held out for it"
        )
        train, test = (
            self.split(name, [0], cut=part)
            for name, part in zip(("train", "held-out part"), parts, strict=True)
        )
        return train, test


def holds_volumes(path: Path) -> bool:
    """Whether a file or folder holds volumes, and nobody need say so."""
    if path.is_dir():
        return any(is_volume(file) for file in visible_files(path))
    return path.is_file() and is_volume(path)


def _look(scans: Sequence[ScanFile]) -> Facts:
    shapes, ends, kinds, whole = [], [], set[str](), True
    first: Scan | None = None
    with progress_bar("looking at volumes", len(scans)) as advance:
        for one in scans:
            scan = one.read()
            low, high = float(scan.values.min()), float(scan.values.max())
            if not np.isfinite([low, high]).all():  # nor is a minimum where one is NaN
                raise DistvaeError(f"{one.name} has voxels that are not finite", "expected numbers")
            first = first or scan
            _check_spacing(scans[0].name, first, one.name, scan)
            shapes.append(scan.values.shape)
            ends += [low, high]
            kinds.add(scan.values.dtype.name)
            whole = whole and scan.values.dtype.kind in "iub"
            advance(1)
    assert first is not None
    return Facts(shapes, min(ends), max(ends), whole, kinds, first.spacing)


def _check_spacing(first: str, known: Scan, name: str, scan: Scan) -> None:
    pairs = zip(known.spacing, scan.spacing, strict=True)
    if any(abs(a - b) > ALIKE * a for a, b in pairs):
        told = [" x ".join(f"{each:.3g}" for each in one.spacing) for one in (known, scan)]
        raise DistvaeError(
            f"{name} has voxels of {told[1]} mm",
            f"those of {first} are {told[0]} mm, and a model knows one scale",
            "Resample all to one spacing, or train on each kind apart.",
        )


def _patch(asked: int | None, facts: Facts, scans: Sequence[ScanFile]) -> int:
    shortest = [min(shape) for shape in facts.shapes]
    least = min(shortest)
    patch = min(PATCH, least) if asked is None else asked
    if patch > least:
        sides = " x ".join(map(str, facts.shapes[shortest.index(least)]))
        raise DistvaeError(
            f"--patch {patch} does not fit {scans[shortest.index(least)].name}",
            f"it is {sides} voxels",
            f"Take --patch {least} or less.",
        )
    return patch


def _grid(facts: Facts, config: DataConfig) -> tuple[Grid, int]:
    """How levels become values, and how many there are."""
    kind = np.result_type(*sorted(facts.kinds)).name
    most = LEVELS if config.bits == 8 else MOST_LEVELS
    lowest = min(0.0, facts.lowest) if facts.whole else facts.lowest
    spread = facts.highest - lowest
    if facts.whole and lowest == 0 and spread < most:
        return Grid(0.0, 1.0, kind, facts.spacing), max(2, depth_white(int(spread)) + 1)
    if facts.whole and spread < most:
        return Grid(lowest, 1.0, kind, facts.spacing), max(2, int(spread) + 1)
    return Grid(lowest, (spread or 1.0) / (most - 1), kind, facts.spacing), most


def _told(scans: Sequence[ScanFile], facts: Facts, grid: Grid, levels: int, patch: int) -> str:
    spacing = " x ".join(f"{each:.3g}" for each in facts.spacing)
    exact = "as they are" if grid.step == 1.0 else f"rounded to steps of {grid.step:.3g}"
    return (
        f"{counted(len(scans), 'volumes')} of {grid.kind}, {facts.lowest:g} to {facts.highest:g}, "
        f"voxels of {spacing} mm, are kept in {levels:,} levels, {exact}; a model sees patches of "
        f"{patch} voxels a side (--patch)"
    )
