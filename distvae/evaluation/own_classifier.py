"""A classifier of a run's own images, whose maps a model may be trained by.

It is built and trained as a judge is, from a seed that no judge has.
"""

import hashlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from distvae.data.identity import Progress
from distvae.data.store import ImageData
from distvae.errors import DistvaeError
from distvae.evaluation.asked import of_attribute
from distvae.evaluation.ensemble import (
    JUDGES,
    Ensemble,
    folder_name,
    identity_of,
    load_ensemble,
    train_ensemble,
)
from distvae.evaluation.judge import JudgeNetwork, shrink
from distvae.terms.maps import Convolutions, Layer
from distvae.text import counted

SEED = JUDGES
"""Those before it are the judges'."""


class Asker(NamedTuple):
    """What asks for a classifier, for people."""

    setting: str
    """As it is given."""
    instead: str
    """What to do where there can be none."""


LIKENESS = Asker(
    "--perceptual classifier",
    "Take --perceptual ms_ssim or efficientnet_lite0, which need no labels.",
)
"""What the maps are for."""


def labels_alone(data: ImageData, asker: Asker = LIKENESS) -> ImageData:
    """The data with the labels that a classifier can tell apart, those of the first attribute.

    Raises:
        DistvaeError: the training images have fewer than two, or no test image has one.
    """
    data = of_attribute(data)
    known = set() if data.train.labels is None else {*data.train.labels[data.train.labels >= 0]}
    if len(known) < 2 or not data.test.labelled:
        found = f"{data.source} has {counted(len(known), 'labels')} of training images"
        raise DistvaeError(
            f"{asker.setting} needs labelled images",
            f"it looks with a classifier of them, and {found}, {data.test.labelled} test images "
            "with one",
            asker.instead,
        )
    return data


def get_classifier(
    data: ImageData,
    cache_dir: Path,
    progress: Progress | None = None,
    asker: Asker = LIKENESS,
) -> Ensemble:
    """The one classifier, trained on the CPU by the first call, then only loaded.

    Args:
        data: of :func:`labels_alone`; its training images without a label are left out.
        cache_dir: it lives in a folder here.
        progress: as :func:`distvae.evaluation.ensemble.get_judges` takes it.
        asker: what it is for.

    Raises:
        DistvaeError: the folder cannot be written.
    """
    device = torch.device("cpu")
    labels = np.ascontiguousarray(data.train.labels, "<i8")  # some may be hidden, or spread
    given = {"seed": SEED, "train_labels": hashlib.sha256(labels.data).hexdigest()}
    identity = {**identity_of(data, device), **given}
    path = cache_dir / folder_name("classifier", data, identity)
    kept = load_ensemble(path, identity, device)
    whose = f"the classifier of {asker.setting}"
    return kept or train_ensemble(path, data, identity, (SEED,), device, whose, progress)


class Labeller(nn.Module):
    """Tells labels of images, and stands still: what it knows are buffers.

    Args:
        network: that tells them; its parameters become buffers.
        told: what to say of it at the start of a run.
    """

    def __init__(self, network: JudgeNetwork, told: str = "") -> None:
        super().__init__()
        self.network, self.told = network.eval(), told
        for module in network.modules():
            for name, weight in [*module.named_parameters(recurse=False)]:
                delattr(module, name)
                module.register_buffer(name, weight.detach())

    def train(self, mode: bool = True) -> "Labeller":
        """Its norms go on by what they found in training."""
        return self

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``[B, L]`` of images ``[B, C, H, W]`` in [0, 1]; gradients pass through."""
        logits: Tensor = self.network(shrink(images))
        return logits


def maps_of(network: JudgeNetwork, told: str = "") -> Convolutions:
    """What it sees of images: the convolutions of a network, whose norms become part of them."""
    first, *rest = [part for part in network.features if isinstance(part, nn.BatchNorm2d)]
    mean, scale = _statistics(first)
    found = [part for part in network.features if isinstance(part, nn.Conv2d)]
    layers = [_without_norm(*pair) for pair in zip(found, rest, strict=True)]
    return Convolutions(mean.float(), scale.float(), layers, told)


def _statistics(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """What a norm takes off each channel, and multiplies it by then."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    return norm.running_mean.double(), (norm.running_var.double() + norm.eps).rsqrt()


def _without_norm(layer: nn.Conv2d, norm: nn.BatchNorm2d) -> Layer:
    mean, scale = _statistics(norm)
    scale = scale * norm.weight.detach().double()
    weight = layer.weight.detach().double() * scale.view(-1, 1, 1, 1)
    bias = norm.bias.detach().double() - mean * scale
    return Layer(weight.float().contiguous(), bias.float())
