"""How evenly a path of pictures changes, as a classifier sees them.

Legend: F frames, U features, S the axes of an example.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

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
    of: Callable[[NDArray[np.float32]], Sequence[NDArray[Any]]]
    """Values ``[F, *S]`` to features ``[F, U]`` of each judge."""


def features_of(trained: Trained) -> Features:
    """Those of the judges of the run's own labels, where they are there; else the values."""
    found = None if trained.onnx is not None else _judges(trained)
    if found is not None:
        return found
    what = "pixels" if trained.domain.part.material == "pictures" else "columns"
    why = "there is no judge of this run's labels, which `distvae evaluate` trains"
    if trained.onnx is not None:
        why = "a judge needs PyTorch"
    return Features(f"in {what}: {why}", lambda values: [values.reshape(len(values), -1)])


def _judges(trained: Trained) -> Features | None:
    import torch

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
    device = trained.model.device
    found = known_judges(data, cache_folder(run.settings().data), device)
    if found is None:
        return None
    members = found.members

    @torch.no_grad()
    def features(values: NDArray[np.float32]) -> list[NDArray[Any]]:
        pictures = torch.from_numpy(values).to(device)
        return [judge.features(pictures).cpu().numpy() for judge in members]

    return Features(f"in the features of {len(members)} judges of {data.name}", features)


def smoothness(paths: Sequence[NDArray[np.float32]], features: Features) -> Smoothness:
    """Of frames ``[F, *S]`` of each part of a path, evenly spaced in time, at least two."""
    figures = []
    for frames in paths:
        for found in features.of(frames):
            whole = found.astype(np.float64)
            steps = np.linalg.norm(np.diff(whole, axis=0), axis=1)
            straight, way = float(np.linalg.norm(whole[-1] - whole[0])), float(steps.sum())
            squared = float(np.square(steps).mean()) * len(steps) ** 2
            detour = way / straight if straight > 0.0 else 1.0
            largest = float(steps.max()) / way if way > 0.0 else 1.0 / len(steps)
            figures.append((squared, detour, largest))
    length, detour, largest = np.mean(figures, axis=0).tolist()
    return Smoothness(length, detour, largest, features.name)
