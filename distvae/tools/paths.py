"""Ways through the space in which a prior is even: where they stop, and what lies between.

Legend: N stops, D coordinates, T frames of a part, S the axes of an example, A attributes.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from distvae.asking import written
from distvae.attribute_values import Values
from distvae.draws.normals import standard_normal
from distvae.errors import DistvaeError
from distvae.ranges import check_seed
from distvae.text import counted
from distvae.tools.examples import Examples
from distvae.tools.given import rows_of_labels
from distvae.tools.sheets import Pictured, Sheet
from distvae.tools.smoothness import Smoothness, features_of, smoothness
from distvae.tools.space import Made, Points, Space
from distvae.tools.trained import Trained

Form = Literal["spherical", "linear"]
MOST = 20
"""Stops."""
FINE = 32
"""Steps of a part, of which its length is measured and a moving picture is made."""
USUAL = 4
"""Draws, where nothing else is asked for."""


@dataclass(frozen=True, eq=False)
class Interpolation(Pictured):
    """A path through some stops."""

    frames: NDArray[Any]
    """``[N - 1, T, *S]``, as examples are stored; both ends of each part are among them."""
    stops: NDArray[Any] | None
    """The images ``[N, *S]``; None of draws."""
    names: tuple[str, ...]
    """What the stops are called, N."""
    labels: tuple[str, ...]
    """What the model is given at each, in words, N; empty of a model that is given nothing."""
    fine: NDArray[Any]
    """The same path in finer steps ``[N - 1, F, *S]``."""
    smoothness: Smoothness
    space: str
    """In which the path is even."""
    form: str
    """``spherical`` or ``linear``."""
    notes: tuple[str, ...] = ()

    @property
    def parts(self) -> list[str]:
        """What the parts of the path are called, N - 1: by their labels where these differ."""
        names = self.labels if self.stops is None and len(set(self.labels)) > 1 else self.names
        return [f"{first} to {last}" for first, last in itertools.pairwise(names)]

    @property
    def examples(self) -> NDArray[Any]:
        """``[N - 1, T, *S]``."""
        return self.frames

    def sheet(self) -> Sheet:
        """A part in a row, between the images themselves where there are some."""
        rows = []
        for number, frames in enumerate(self.frames):
            ends = self.stops[number : number + 2] if self.stops is not None else frames[:0]
            rows.append(np.concatenate([ends[:1], frames, ends[1:]]))
        told = "first and last: the images themselves; between" if self.stops is not None else ""
        caption = f"{told or 'between draws'}: a {self.form} path in {self.space}"
        return Sheet(self.pictures(np.concatenate(rows)), len(rows[0]), self.parts, caption)


@dataclass(frozen=True, eq=False)
class Stops:
    """Where a path goes."""

    points: Points
    """``[N, D]``."""
    given: Values | None
    """What the model is given at each ``[N, A]``."""
    names: tuple[str, ...]
    stored: NDArray[Any] | None
    """``[N, *S]``; None of draws."""
    notes: tuple[str, ...] = ()


def encoded_stops(space: Space, examples: Examples, seed: int) -> Stops:
    """Stops at the posterior means of examples."""
    if not 2 <= len(examples) <= MOST:
        raise DistvaeError(
            f"{examples.name} has {counted(len(examples), examples.domain.examples)}",
            f"expected two to {MOST} to go through",
        )
    found = space.located(examples, seed)
    if examples.lost:
        examples.refuse_lost("every stop is needed")
    names = tuple(Path(name).stem for name in examples.names(found.rows))
    return Stops(found.points, found.given, names, found.stored, examples.notes)


def drawn_stops(trained: Trained, space: Space, labels: Any, seeds: Sequence[int]) -> Stops:
    """Stops at draws of the prior."""
    given = rows_of_labels(labels, trained.attributes)
    count = max(len(given) if given is not None else 1, len(seeds) or 1)
    count = count if count > 1 or seeds else USUAL
    seeds = list(seeds) or [*range(count)]
    for what, size in (("labels", 1 if given is None else len(given)), ("seeds", len(seeds))):
        if size not in (1, count):
            raise DistvaeError(
                f"there are {size} {what} and {count} stops", "expected one or as many"
            )
    if count < 2:
        raise DistvaeError("a path of one stop", "expected two images, labels or seeds, or more")
    for seed in seeds:
        check_seed(seed)
    seeds = seeds * count if len(seeds) == 1 else seeds
    given = np.repeat(given, count, 0) if given is not None and len(given) == 1 else given
    noise = np.concatenate([standard_normal(seed, 0, 1, space.noise_dim) for seed in seeds])
    names = tuple(f"seed {seed}" for seed in seeds)
    return Stops(space.of_noise(noise, given), given, names, None)


def through(trained: Trained, space: Space, stops: Stops, steps: int, form: Form) -> Interpolation:
    """The path, part by part."""
    coarse, fine = [], []
    for part in range(len(stops.names) - 1):
        ends = stops.points[part : part + 2]
        given = None if stops.given is None else stops.given[part : part + 2]
        coarse.append(frames_between(space, ends, given, steps, form))
        fine.append(frames_between(space, ends, given, FINE + 1, form))
    return Interpolation(
        np.stack([each.stored for each in coarse]),
        stops.stored,
        tuple(stops.names),
        tuple(labels_of(stops, trained)),
        np.stack([each.stored for each in fine]),
        smoothness([each.values for each in fine], features_of(trained)),
        space.told,
        form,
        stops.notes,
        depth=trained.domain.levels,
    )


def labels_of(stops: Stops, trained: Trained) -> list[str]:
    """What the model is given at each stop, in words; empty of one that is given nothing."""
    if stops.given is None:
        return [""] * len(stops.names)
    words = written(np.asarray(stops.given, np.float32), trained.attributes)
    return [", ".join(filter(None, known)) for known in zip(*words, strict=True)]


def frames_between(
    space: Space, ends: Points, given: Values | None, count: int, form: Form
) -> Made:
    """Examples at even steps between two ends ``[2, D]``, so many."""
    times = np.linspace(0.0, 1.0, count)
    nearer = (times > 0.5).astype(np.int64)
    return space.made(
        between(ends[0], ends[1], times, form), None if given is None else given[nearer]
    )


def between(
    first: NDArray[np.float64], last: NDArray[np.float64], times: NDArray[np.float64], form: Form
) -> Points:
    """Points ``[T, D]`` on the way between two ``[D]``, 0 the first and 1 the last.

    An arc turns by even angles, and its distance from the origin changes evenly from that of one
    end to that of the other. Between ends that point the same way, or opposite ones, it is a line.
    """
    weights = times[:, None]
    line: Points = first + weights * (last - first)
    norms = float(np.linalg.norm(first)), float(np.linalg.norm(last))
    if form == "linear" or min(norms) == 0.0:
        return line
    angle = float(np.arccos(np.clip(first @ last / (norms[0] * norms[1]), -1.0, 1.0)))
    if np.sin(angle) < 1e-6:
        return line
    parts = np.sin((1.0 - weights) * angle), np.sin(weights * angle)
    direction = (parts[0] * first / norms[0] + parts[1] * last / norms[1]) / np.sin(angle)
    way: Points = direction * (norms[0] + weights * (norms[1] - norms[0]))
    return way
