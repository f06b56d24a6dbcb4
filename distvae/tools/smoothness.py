"""How evenly a path of pictures changes, as a classifier sees them.

Legend: F frames, J judges, U features.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from distvae.errors import DistvaeError
from distvae.tools.trained import Trained


class Smoothness(NamedTuple):
    """Of a path, the mean over its parts."""

    length: float
    """Perceptual path length: the mean squared speed of the features, from one end at time 0 to the
    other at time 1 (Karras et al. 2019, arXiv:1812.04948, section 4.1, without their factor)."""
    detour: float
    """The way of the features over the straight way between both ends; 1 is straight."""
    largest: float
    """The share of the largest of the steps in the way; of F - 1 equal ones 1 / (F - 1)."""
    features: str
    """Whose they are."""

    @property
    def line(self) -> str:
        """For people."""
        return (
            f"perceptual path length {self.length:.4g} ({self.features}), way {self.detour:.2f} "
            f"times the straight one, the largest step {100 * self.largest:.1f} % of it"
        )


class Features(NamedTuple):
    """What looks at pictures."""

    name: str
    of: Callable[[Tensor], tuple[Tensor, ...]]
    """Values ``[F, *S]`` to features ``[F, U]`` of each judge."""


def features_of(trained: Trained) -> Features:
    """Those of the judges of the run's own labels, where they are there; else the values."""
    found = _judges(trained)
    if found is not None:
        return found
    what = "pixels" if trained.domain.part.material == "pictures" else "columns"
    return Features(
        f"in {what}: there is no judge of this run's labels, which `distvae evaluate` trains",
        lambda values: (values.flatten(1),),
    )


def _judges(trained: Trained) -> Features | None:
    from distvae.data.cache import cache_folder
    from distvae.data.provenance import open_recorded
    from distvae.evaluation.asked import of_attribute
    from distvae.evaluation.ensemble import known_judges

    run = trained.run
    if run is None or run.bare:
        return None
    try:
        data = of_attribute(open_recorded(run, None, quiet=True), None)
    except DistvaeError:  # they lie elsewhere now
        return None
    if data.num_labels < 2:
        return None
    found = known_judges(data, cache_folder(run.settings().data), trained.model.device)
    if found is None:
        return None
    return Features(
        f"in the features of {len(found.members)} judges of {data.name}",
        lambda values: tuple(judge.features(values) for judge in found.members),
    )


def smoothness(paths: list[Tensor], features: Features) -> Smoothness:
    """Of frames ``[F, *S]`` of each part of a path, evenly spaced in time, at least two."""
    figures = []
    for frames in paths:
        for found in features.of(frames):
            steps = torch.linalg.vector_norm(found[1:].double() - found[:-1].double(), dim=1)
            straight = float(torch.linalg.vector_norm(found[-1].double() - found[0].double()))
            way = float(steps.sum())
            squared = float(steps.square().mean()) * len(steps) ** 2
            detour = way / straight if straight > 0.0 else 1.0
            largest = float(steps.max()) / way if way > 0.0 else 1.0 / len(steps)
            figures.append((squared, detour, largest))
    length, detour, largest = torch.tensor(figures, dtype=torch.float64).mean(0).tolist()
    return Smoothness(length, detour, largest, features.name)
