"""Ways through the space in which a prior is even: where they stop, and what lies between.

Legend: N stops, D coordinates, T frames of a part, S the axes of an example, A attributes.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distvae.asking import written
from distvae.attribute_values import Values
from distvae.draws.normals import standard_normal
from distvae.errors import DistvaeError
from distvae.models import VAE
from distvae.ranges import check_seed
from distvae.text import counted
from distvae.tools.batches import batches, context_of
from distvae.tools.examples import Examples
from distvae.tools.given import rows_of_labels
from distvae.tools.sheets import Pictured, Sheet
from distvae.tools.smoothness import Smoothness, features_of, smoothness
from distvae.tools.trained import Trained
from distvae.tools.whitened import Whitened, whitened

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
        return Sheet(np.concatenate(rows), len(rows[0]), self.parts, caption)


@dataclass(frozen=True, eq=False)
class Stops:
    """Where a path goes."""

    coordinates: Tensor
    """``[N, D]``."""
    given: Values | None
    """What the model is given at each ``[N, A]``."""
    names: tuple[str, ...]
    stored: NDArray[Any] | None
    """``[N, *S]``; None of draws."""
    notes: tuple[str, ...] = ()


def encoded_stops(trained: Trained, examples: Examples, seed: int) -> Stops:
    """Stops at the posterior means of examples."""
    if not 2 <= len(examples) <= MOST:
        raise DistvaeError(
            f"{examples.name} has {counted(len(examples), examples.domain.examples)}",
            f"expected two to {MOST} to go through",
        )
    space, model = whitened(trained.model), trained.model
    coordinates, given, stored, rows = [], [], [], []
    with torch.no_grad():
        for seen in batches(trained, examples, seed):
            means = model.means(seen.expected, seen.context)
            coordinates.append(space.of(means, seen.context))
            given.append(seen.part.given)
            stored.append(seen.part.stored)
            rows.append(seen.part.rows)
    if examples.lost:
        examples.refuse_lost("every stop is needed")
    values = (
        None if given[0] is None else np.concatenate([each for each in given if each is not None])
    )
    names = tuple(Path(name).stem for name in examples.names(np.concatenate(rows)))
    return Stops(torch.cat(coordinates), values, names, np.concatenate(stored), examples.notes)


def drawn_stops(trained: Trained, labels: Any, seeds: Sequence[int]) -> Stops:
    """Stops at draws of the prior."""
    model = trained.model
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
    dim = model.latents.noise_dim
    noise = np.concatenate([standard_normal(seed, 0, 1, dim) for seed in seeds])
    with torch.no_grad():
        context = context_of(model, given, count)
        latents = model.latents.draw(torch.from_numpy(noise).to(model.device), context)
        coordinates = whitened(model).of(latents, context)
    names = tuple(f"seed {seed}" for seed in seeds)
    return Stops(coordinates, given, names, None)


def through(trained: Trained, stops: Stops, steps: int, form: Form) -> Interpolation:
    """The path, part by part."""
    model, space = trained.model, whitened(trained.model)
    coarse, fine, values = [], [], []
    with torch.no_grad():
        for part in range(len(stops.names) - 1):
            ends = stops.coordinates[part : part + 2]
            given = None if stops.given is None else stops.given[part : part + 2]
            coarse.append(frames_between(model, space, ends, given, steps, form))
            values.append(frames_between(model, space, ends, given, FINE + 1, form))
            fine.append(model.domain.to_stored(values[-1]).cpu().numpy())
    return Interpolation(
        np.stack([model.domain.to_stored(each).cpu().numpy() for each in coarse]),
        stops.stored,
        tuple(stops.names),
        tuple(labels_of(stops, trained)),
        np.stack(fine),
        smoothness(values, features_of(trained)),
        space.told,
        form,
        stops.notes,
    )


def labels_of(stops: Stops, trained: Trained) -> list[str]:
    """What the model is given at each stop, in words; empty of one that is given nothing."""
    if stops.given is None:
        return [""] * len(stops.names)
    words = written(np.asarray(stops.given, np.float32), trained.attributes)
    return [", ".join(filter(None, known)) for known in zip(*words, strict=True)]


def frames_between(
    model: VAE, space: Whitened, ends: Tensor, given: Values | None, count: int, form: Form
) -> Tensor:
    """Values ``[count, *S]`` at even steps between two ends ``[2, D]``."""
    times = torch.linspace(0.0, 1.0, count, dtype=torch.float64)
    way = between(ends[0].double().cpu(), ends[1].double().cpu(), times, form)
    nearer = (times > 0.5).long().numpy()
    context = context_of(model, None if given is None else given[nearer], count)
    latents = space.latents(way.to(ends), context)
    values: Tensor = model.render(latents, context)
    return values


def between(first: Tensor, last: Tensor, times: Tensor, form: Form) -> Tensor:
    """Points ``[T, D]`` on the way between two ``[D]``, 0 the first and 1 the last.

    An arc turns by even angles, and its distance from the origin changes evenly from that of one
    end to that of the other. Between ends that point the same way, or opposite ones, it is a line.
    """
    weights = times[:, None].to(first)
    line = first + weights * (last - first)
    norms = torch.linalg.vector_norm(first), torch.linalg.vector_norm(last)
    if form == "linear" or min(map(float, norms)) == 0.0:
        return line
    cosine = (first @ last / (norms[0] * norms[1])).clamp(-1.0, 1.0)
    angle = torch.arccos(cosine)
    if float(torch.sin(angle)) < 1e-6:
        return line
    parts = torch.sin((1.0 - weights) * angle), torch.sin(weights * angle)
    direction = (parts[0] * first / norms[0] + parts[1] * last / norms[1]) / torch.sin(angle)
    way: Tensor = direction * (norms[0] + weights * (norms[1] - norms[0]))
    return way
