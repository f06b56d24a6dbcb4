"""Whole volumes as a tool takes them: one after the other, in the levels of a model of patches.

Legend: N volumes, A attributes of the model, D depth, H height, W width, F pixels of a place of
latents.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distvae.attribute_values import Values
from distvae.attributes import label_attribute
from distvae.data.sources import RawSplit, load_source
from distvae.data.sources.scans import Leveled
from distvae.data.sources.volumes import ALIKE, VOLUMES, read_wholes
from distvae.data.validation import with_validation
from distvae.domains.volumes import Volumes
from distvae.errors import DistvaeError
from distvae.terminal import progress_bar, say
from distvae.tools.examples import ALL, labelled, told_of_labels
from distvae.tools.pieces import whole_piece
from distvae.tools.reading import Examples
from distvae.tools.sources import Asked, config_of
from distvae.tools.trained import Trained


@dataclass(frozen=True, eq=False)
class Wholes:
    """Volumes of a source."""

    examples: Examples
    """What they are called, and what the model is given of each."""
    splits: tuple[RawSplit, ...]
    """In the order of the examples."""

    def __len__(self) -> int:
        """N."""
        return len(self.examples)

    def given(self, row: int) -> Values | None:
        """What the model is given of a volume ``[1, A]``; None of an unconditional model."""
        values = self.examples.given()
        return None if values is None else np.asarray(values[row : row + 1])

    def name(self, row: int) -> str:
        """What a volume is called."""
        return self.examples.names(np.array([row]))[0]

    def volume(self, row: int) -> Leveled:
        """A volume, of which the parts are read when they are asked for.

        Raises:
            DistvaeError: it cannot be read, or does not fit the model.
        """
        name, place = self.name(row), row
        for split in self.splits:
            if place < len(split.rows):
                found: Leveled = split.fetch(split.rows[place : place + 1])[0]
                _check(found, name, self.examples.domain)
                return found
            place -= len(split.rows)
        raise IndexError(row)


def open_wholes(
    trained: Trained,
    data: str | None,
    split: str | None = None,
    label: str | None = None,
    label_column: str | None = None,
    own_split: str = "test",
) -> Wholes:
    """The whole volumes that a tool was asked to look at, and the lines that say what is done.

    Args:
        trained: a model of volumes.
        data: a file or folder; None: the data of the run.
        split: of these; None: ``own_split`` of the run's data, all of others.
        label: what they are given, as a command line writes it; None: what the data say.
        label_column: that of a table beside them.
        own_split: of the run's own data.

    Raises:
        DistvaeError: there are none, or something is not known of them that the model needs.
    """
    if data is None:
        name = trained.run_with_data("volumes").record().data.source
        chosen, attributes, notes = _own(trained)
        split = split or own_split
    else:
        asked = Asked(data, label_column)
        path = Path(data).expanduser()
        if not path.exists():
            raise DistvaeError(f"there are no volumes {data}", "expected a file or folder")
        assert isinstance(trained.domain, Volumes)
        chosen, attributes, notes = read_wholes(path, config_of(trained, asked), trained.domain)
        name = data
    wanted = {key: each for key, each in chosen.items() if split in (None, ALL, key)}
    if not wanted:
        raise DistvaeError(f"--split {split}: {name} has none", f"it has {', '.join(chosen)}")
    pieces = tuple(whole_piece(key, each) for key, each in wanted.items())
    identity = "" if data is None else str(Path(data).resolve())
    examples = Examples(
        *(name, trained.domain, trained.attributes, attributes, pieces), identity=identity
    )
    examples = examples if label is None else labelled(examples, label)
    for note in [*notes, *told_of_labels(examples, trained, label, None, False, VOLUMES)]:
        say(f"data: {note}")
    return Wholes(examples, tuple(wanted.values()))


def _own(trained: Trained) -> tuple[dict[str, RawSplit], Any, list[str]]:
    """The splits of the data that the run was trained on."""
    run = trained.run_with_data("volumes")
    config = dataclasses.replace(run.settings().data, data=run.record().data.source)
    raw = load_source(config, progress_bar).read()
    raw = with_validation(raw, config, lambda other: load_source(other, progress_bar).read())
    return raw.splits, raw.attributes or label_attribute(raw.label_names), []


def _check(found: Leveled, name: str, domain: Any) -> None:
    """Refuse a volume that a model of patches does not know.

    Raises:
        DistvaeError: its voxels are of another size, or it is smaller than a patch.
    """
    patch, (_, *sides) = max(domain.shape), found.shape
    pairs = zip(found.scan.spacing, domain.spacing, strict=True)
    if any(abs(a - b) > ALIKE * b for a, b in pairs) or min(sides) < patch:
        spacing = " x ".join(f"{each:.3g}" for each in found.scan.spacing)
        own = " x ".join(f"{each:.3g}" for each in domain.spacing)
        raise DistvaeError(
            f"{name} is {' x '.join(map(str, sides))} voxels of {spacing} mm",
            f"the model takes voxels of {own} mm, and at least {patch} a side",
            "Resample it.",
        )


@dataclass(frozen=True, eq=False)
class Padded:
    """A volume ``[1, 1, D, H, W]`` whose last voxels are repeated up to multiples of F."""

    volume: Leveled
    factor: int

    @property
    def shape(self) -> tuple[int, ...]:
        """Multiples of F, after two ones."""
        return (1, 1, *(-(-side // self.factor) * self.factor for side in self.volume.shape[1:]))

    def __getitem__(self, place: tuple[slice, ...]) -> NDArray[Any]:
        """A part, of slices along every axis."""
        sides = self.volume.shape[1:]
        inside = [
            slice(min(each.start, side - 1), min(each.stop, side))
            for each, side in zip(place[2:], sides, strict=True)
        ]
        found = self.volume[(slice(None), *inside)]
        more = [
            (0, (each.stop - each.start) - (one.stop - one.start))
            for each, one in zip(place[2:], inside, strict=True)
        ]
        return np.pad(found, [(0, 0), *more], "edge")[None]
