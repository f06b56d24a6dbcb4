"""Graphs of a model whose latents lie at every place: images and volumes of any size.

`latent_decoder.onnx` takes latents as a diffusion model gives them, `latent_encoder.onnx` images.
They are plain ONNX for any runtime; what they are made of stands in their metadata.

Legend: B batch, C channels of an image, Z of the latents, H height and W width of the latents, of
volumes after a depth, F the factor by which they are smaller than the image.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from distvae.domains.levels import LEVELS
from distvae.errors import DistvaeError
from distvae.export.graphs import Graph
from distvae.export.parity import REPORT, SEED
from distvae.export.tracing import exported
from distvae.files import replacing_file
from distvae.inference import for_inference
from distvae.latents.spatial import Spatial
from distvae.models import VAE
from distvae.tensors import checksum

KEY = "distvae.any_size"
"""Metadata key; under it a JSON object."""
DECODER, ENCODER = "latent_decoder.onnx", "latent_encoder.onnx"
SIDES = {2: ((1, 1), (3, 2), (5, 9)), 3: ((1, 1, 1), (3, 2, 1), (2, 4, 3))}
"""Sides of latents, by how many there are, at which a file is compared with the model."""
TOLERANCE = 1e-4
"""Largest error of a posterior, relative where a value exceeds one."""


class LatentDecoder(Graph):
    """Latents ``[B, Z, H, W]`` and label ``[B]`` to images uint8 ``[B, C, F H, F W]``."""

    def forward(self, latents: Tensor, *given: Tensor) -> Tensor:
        """The likelihood's mean as it is stored."""
        mean = self.model.render((latents,), self.contexts(given))
        stored: Tensor = self.model.domain.to_stored(mean)
        return stored


class LatentEncoder(Graph):
    """Images uint8 ``[B, C, F H, F W]`` and label ``[B]`` to their posterior."""

    def forward(self, image: Tensor, *given: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance ``[B, Z, H, W]``."""
        inputs = self.model.domain.to_expected_input(image)
        (found,) = self.model.posteriors(inputs, self.contexts(given))
        return found.mean, found.log_variance


def has_any_size(model: VAE) -> bool:
    """Whether a model has such graphs."""
    one_label = not model.attributes or bool(model.label_names)
    return isinstance(model.latents, Spatial) and one_label


def write_any_size(model: VAE, folder: Path) -> None:
    """Write both graphs, each compared with the model at several sides.

    Raises:
        DistvaeError: one of them does not do what the model does.
    """
    (maps, *sides), domain = model.latents.levels[0].shape, model.domain
    channels, factor, whole = domain.shape[0], domain.shape[1] // sides[0], for_inference(model)
    facts = {
        "factor": factor,
        "latent_channels": maps,
        "image_channels": channels,
        "label_names": list(model.label_names),
        "weights_sha256": checksum(model.state_dict()),
    }
    traced = (3, 5, 2)[: len(sides)]
    latents = torch.zeros(2, maps, *traced)
    kind = getattr(torch, domain.dtype)
    image = torch.zeros(2, channels, *(side * factor for side in traced), dtype=kind)
    graphs: list[tuple[str, nn.Module, dict[str, Tensor], list[str], int]] = [
        (DECODER, LatentDecoder(whole), {"latents": latents}, [domain.tensor], 1),
        (ENCODER, LatentEncoder(whole), {domain.tensor: image}, ["mean", "log_variance"], factor),
    ]
    given = _given(model, 2)
    for name, graph, inputs, outputs, step in graphs:
        proto = exported(graph, {**inputs, **given}, outputs, step)
        onnx.helper.set_model_props(proto, {KEY: json.dumps(facts, sort_keys=True)})
        with replacing_file(folder / name) as temporary:
            temporary.write_bytes(proto.SerializeToString(deterministic=True))
            onnx.checker.check_model(proto, full_check=True)
            _compare(temporary, graph, next(iter(inputs)), step, model)


def _given(model: VAE, count: int) -> dict[str, Tensor]:
    """What a model is given of so many images, by name of the input."""
    if model.label_names:
        return {"label": torch.arange(count) % len(model.label_names)}
    return {}


def _compare(path: Path, graph: nn.Module, name: str, step: int, model: VAE) -> None:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    generator, domain = torch.Generator().manual_seed(SEED), model.domain
    maps, *own = model.latents.levels[0].shape
    for count, sides in enumerate(SIDES[len(own)], 1):
        if name == "latents":
            value = torch.randn(count, maps, *sides, generator=generator)
        else:
            shape = count, domain.shape[0], *(step * side for side in sides)
            levels = torch.randint(0, domain.levels or LEVELS, shape, generator=generator)
            value = levels.to(getattr(torch, domain.dtype))
        given = _given(model, count)
        with torch.no_grad():
            expected = graph(value, *given.values())
        feeds = {name: value.numpy(), **{key: one.numpy() for key, one in given.items()}}
        found = session.run(None, feeds)
        for one, other in zip(found, [expected] if name == "latents" else expected, strict=True):
            if not _alike(one, other.numpy()):
                raise DistvaeError(
                    f"{path.name} does not give what the model gives for {name} of "
                    f"{list(value.shape)}",
                    "expected the same but for rounding",
                    REPORT,
                )


def _alike(found: NDArray[Any], expected: NDArray[Any]) -> bool:
    if found.shape != expected.shape or found.dtype != expected.dtype:
        return False
    off = np.abs(found.astype(np.float64) - expected)
    if found.dtype.kind == "u":
        return bool(off.max() <= max(1.0, TOLERANCE * np.iinfo(found.dtype).max))
    return bool((off / np.maximum(1.0, np.abs(expected))).max() <= TOLERANCE)
