"""What an exported file is compared by with the model that it was made from.

Legend: B batch, S the axes of an example.
"""

import contextlib
import copy
import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray

from distvae.conditions import Conditions, Context
from distvae.export.convert import MEAN
from distvae.export.turns import Given
from distvae.models import VAE

TOLERANCE = 1e-5
"""Largest error of a float32 export, in units of the image's range, or of 1 for a posterior and for
standardized vectors, relative where a value exceeds one."""
ROUNDINGS = 4.0
"""By how many times what float32 itself is off a file may be, where that exceeds ``TOLERANCE``: a
runtime adds up in another order than torch."""
MOST = 1e-3
"""What is allowed at most, also of a score, however far rounding moves it."""
SEED = 0
REPORT = "Please report it with the model's config.json."
Advance = Callable[[int], None]


@dataclass(frozen=True)
class Parity:
    """How far a file is from the model it was made from."""

    error: float
    """Largest difference before rounding: images in [0, 1], posteriors and vectors as they are."""
    mean_error: float
    """Mean absolute difference."""
    grey_levels: int | None
    """Largest difference of a pixel after rounding, of 255; None of what gives no images."""
    images: int
    """How many were compared."""


class Exact:
    """A model in float64, made when it is asked for: it tells how far rounding moves float32."""

    def __init__(self, model: VAE) -> None:
        self._model = model

    @functools.cached_property
    def model(self) -> VAE:
        """The same weights in float64."""
        return copy.deepcopy(self._model).double()

    def means(self, noise: NDArray[np.float32], given: Given) -> NDArray[np.float64]:
        """The likelihood's mean ``[B, *S]``."""
        return torch_means(self.model, noise.astype(np.float64), given)

    def posteriors(self, inputs: torch.Tensor, given: Given) -> list[NDArray[np.float64]]:
        """Mean and log-variance of each level ``[B, *S]``, one after the other."""
        with torch.no_grad():
            found = self.model.posteriors(*on_device(self.model, inputs.double(), given))
            return [part.cpu().numpy() for each in found for part in (each.mean, each.log_variance)]


def limit(off: NDArray[Any]) -> float:
    """By how much a file may be off, of how far torch in float32 is from float64 ``[B, *S]``.

    Where a graph amplifies rounding, as by large weights that nearly cancel out, two runtimes that
    are right differ by more than ``TOLERANCE``.
    """
    return min(MOST, max(TOLERANCE, ROUNDINGS * float(off.max())))


def torch_means(model: VAE, noise: NDArray[Any], given: Given) -> NDArray[Any]:
    """The likelihood's mean ``[B, *S]`` by the trained model itself, in its precision."""
    noises, context = on_device(model, torch.from_numpy(noise), given)
    with torch.no_grad():
        means: NDArray[Any] = (
            model.render(model.latents.draw(noises, context), context).cpu().numpy()
        )
    return means


def on_device(
    model: VAE, inputs: torch.Tensor, given: Given
) -> tuple[torch.Tensor, Context | None]:
    """Inputs ``[B, ...]`` and what they are given, as the model takes them on its device."""
    if given.values is None:
        return inputs.to(model.device), None
    values = torch.from_numpy(given.values)
    conditions = (
        Conditions.of_examples(None, values)
        if given.attributes
        else Conditions.of_labels(values[:, 0].long())
    )
    assert conditions is not None
    return inputs.to(model.device), model.conditioner(conditions.to(model.device))


@contextlib.contextmanager
def with_mean(path: Path) -> Iterator[onnxruntime.InferenceSession]:
    """A session of the same graph that also gives the mean before it is rounded."""
    proto = onnx.load(str(path), load_external_data=False)
    proto.graph.output.append(onnx.ValueInfoProto(name=MEAN))
    beside = path.with_name(f".verify-{path.name}")  # beside it, since weights may lie there too
    try:
        beside.write_bytes(proto.SerializeToString())
        yield onnxruntime.InferenceSession(str(beside), providers=["CPUExecutionProvider"])
    finally:
        beside.unlink(missing_ok=True)
