"""Patches of volumes by split: which lie where, and which levels their values become.

Legend: N patches, D depth, H height, W width.
"""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from distvae.config import DataConfig
from distvae.data.levels import depth_white
from distvae.data.sources.raw import Notes, RawData, RawSplit
from distvae.data.sources.splits import finish, roles
from distvae.data.sources.trees import visible_files
from distvae.data.sources.volume_files import Scan, ScanFile, is_volume, scans_in
from distvae.domains.levels import LEVELS, MOST_LEVELS
from distvae.domains.volume_files import Grid
from distvae.domains.volumes import VolumesPart
from distvae.draws.order import permutation
from distvae.draws.philox import Stream
from distvae.errors import DistvaeError
from distvae.terminal import progress_bar
from distvae.text import counted

VOLUMES = "volumes"
PATCH = 32
SHARE = 10
"""A tenth of the volumes is held out."""
ALIKE = 0.01
"""By how much spacings may differ, of themselves."""
KEPT = 4
"""Volumes that are kept in memory."""


class Facts(NamedTuple):
    """What is known of volumes before their patches are cut."""

    shapes: list[tuple[int, ...]]
    lowest: float
    highest: float
    whole: bool
    kinds: set[str]
    spacing: tuple[float, float, float]


def read_volumes(path: Path, config: DataConfig) -> RawData:
    """Both splits of patches of the volumes in a file or folder.

    Patches of the training split overlap by half; those of the others do not.

    Raises:
        DistvaeError: there are none, or they do not fit each other.
    """
    scans = scans_in(path)
    if not scans:
        raise DistvaeError(
            f"{path} holds no volumes",
            "expected .nii, .nii.gz, .dcm, .tif or .npy files",
            "A folder of pictures is trained on without --domain.",
        )
    facts = _look(scans)
    patch = _patch(config.of(VolumesPart).patch, facts, scans)
    grid, levels = _grid(facts, config)
    cut = _Patches(scans, grid, levels, patch)
    notes: Notes = [_told(scans, facts, grid, levels, patch)]
    parts = _divided(scans, path, config)
    with progress_bar("cutting patches", len(scans)) as advance:
        train, *others = (
            cut.split(
                name,
                chosen,
                notes,
                max(1, patch // 2) if name == "train" and len(parts) > 1 else patch,
            )
            for name, chosen in parts.items()
        )
        advance(len(scans))
    raw = finish(config, train, others[0] if others else None, (), notes)
    known = {"levels": levels, **grid._asdict()}
    return dataclasses.replace(raw, domain=VOLUMES, facts=known)


@dataclass(frozen=True, eq=False)
class _Patches:
    """Patches of volumes, of which the last few are kept in memory."""

    scans: Sequence[ScanFile]
    grid: Grid
    levels: int
    side: int

    @functools.cached_property
    def volume(self) -> Callable[[int], NDArray[Any]]:
        """The levels of a volume by its number ``[D, H, W]``."""

        @functools.lru_cache(KEPT)
        def load(number: int) -> NDArray[Any]:
            return self.grid.levels(self.scans[number].read().values, self.levels)

        return load

    def at(self, number: int, corner: Sequence[int]) -> NDArray[Any]:
        """One of a volume ``[side, side, side]``."""
        return self.volume(number)[tuple(slice(at, at + self.side) for at in corner)]

    def split(self, name: str, chosen: Sequence[int], notes: Notes, step: int) -> RawSplit:
        """Those of some volumes, so many voxels apart, but for what is of one value all over."""
        places, blank = [], 0
        for number in chosen:
            for corner in corners(self.volume(number).shape, self.side, step):
                patch = self.at(number, corner)
                if patch.min() == patch.max():
                    blank += 1
                else:
                    places.append((number, *corner))
        if blank:
            notes.append(f"left out: {counted(blank, 'patches')} of {name} of one value all over")
        if not places:
            raise DistvaeError(f"all patches of {name} are of one value", "expected some content")
        table = np.array(places, np.int64)

        def fetch(rows: NDArray[np.int64]) -> Any:
            return np.stack([self.at(n, corner) for n, *corner in table[rows].tolist()])[:, None]

        def names(rows: NDArray[np.int64]) -> list[str]:
            return [f"{self.scans[n].name} at {z},{y},{x}" for n, z, y, x in table[rows].tolist()]

        return RawSplit(name, np.arange(len(table)), None, fetch, lambda row, _: row, names=names)


def holds_volumes(path: Path) -> bool:
    """Whether a file or folder holds volumes, and nobody need say so."""
    if path.is_dir():
        return any(is_volume(file) for file in visible_files(path))
    return path.is_file() and is_volume(path)


def corners(shape: Sequence[int], patch: int, step: int) -> list[tuple[int, ...]]:
    """Where patches begin that cover a volume evenly, so many voxels apart at most."""
    axes = []
    for side in shape:
        last = side - patch
        count = 1 + -(-last // step)
        axes.append([round(at) for at in np.linspace(0, last, count).tolist()])
    return list(itertools.product(*axes))


def _look(scans: Sequence[ScanFile]) -> Facts:
    shapes, ends, kinds, whole = [], [], set[str](), True
    first: Scan | None = None
    with progress_bar("looking at volumes", len(scans)) as advance:
        for one in scans:
            scan = one.read()
            if scan.values.dtype.kind == "f" and not np.isfinite(scan.values).all():
                raise DistvaeError(f"{one.name} has voxels that are not finite", "expected numbers")
            first = first or scan
            _check_spacing(scans[0].name, first, one.name, scan)
            shapes.append(scan.values.shape)
            ends += [float(scan.values.min()), float(scan.values.max())]
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
    (kind, *others) = facts.kinds
    kind = "float32" if others else kind
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


def _divided(scans: Sequence[ScanFile], path: Path, config: DataConfig) -> dict[str, list[int]]:
    """Numbers of volumes by split: by folders that bear the names of some, else a tenth apart."""
    tops = [
        scan.path.relative_to(path).parts[0] if path.is_dir() and scan.path != path else ""
        for scan in scans
    ]
    known = roles(tops)
    named = {known.get(top, "") for top in tops}
    if {"train", "test"} <= named:
        return {
            role: [n for n, top in enumerate(tops) if known.get(top) == role]
            for role in ("train", "test")
        }
    if len(scans) == 1:
        return {"train": [0]}
    order = permutation(len(scans), config.split_seed, Stream.HELD_OUT)
    held = {*order[: max(1, len(scans) // SHARE)].tolist()}
    return {
        "train": [number for number in range(len(scans)) if number not in held],
        "volumes held out": sorted(held),
    }
