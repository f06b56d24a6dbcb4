"""What an exported file is compared by with the model that it was made from.

Legend: B batch, S the axes of an example.
"""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

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
MOST_OF_SCORES = 1e-3
"""What is allowed of a score at most, however far rounding moves it."""
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


def torch_means(model: VAE, noise: NDArray[np.float32], given: Given) -> NDArray[np.float32]:
    """The likelihood's mean ``[B, *S]`` by the trained model itself."""
    noises, context = on_device(model, torch.from_numpy(noise), given)
    with torch.no_grad():
        means: NDArray[np.float32] = (
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
