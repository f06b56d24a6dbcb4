"""What images are compared by: features that a network has of them, or their pixels.

Legend: N images, C channels, H height, W width, F features, K classes.
"""

import hashlib
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from distvae.blocks import fitting, joined
from distvae.data.batches import ResidentImages
from distvae.domains import Domain, to_levels
from distvae.errors import DistvaeError
from distvae.evaluation.ensemble import Ensemble
from distvae.evaluation.judge import Judge, shrink
from distvae.evaluation.passes import Advance
from distvae.labels import Labels

WEIGHTS = "weights-inception-2015-12-05-6726825d.pth"
"""The network that FID was defined by; the last word before the dot begins the file's SHA-256."""
BLOCK = 32
"""Images of 299 x 299 pixels that Inception sees together on a CPU."""
BATCH, LARGEST = 500, 4000
"""Images that are read together on a CPU, and anywhere at most: after so many it is told how many
are done."""
BYTES = 16
"""For each number of an example that is read, at most."""


class Space(Protocol):
    """Points for images, near each other where the images are alike."""

    @property
    def suffix(self) -> str:
        """Of the names of figures that rest on it."""

    def features(self, images: Tensor) -> Tensor:
        """``[N, F]`` of images ``[N, C, H, W]`` in [0, 1]."""


class Extractor(Space, Protocol):
    """A space made by a classifier."""

    def logits(self, features: Tensor) -> Tensor:
        """What it takes the images for, ``[N, K]``, of their features ``[N, F]``."""


@dataclass(frozen=True, eq=False)
class JudgeFeatures:
    """The hidden layer of a judge: of the same data, but in no other paper's figures."""

    judge: Judge
    suffix: str = "_judge"

    def features(self, images: Tensor) -> Tensor:
        """``[N, F]`` of what a model draws ``[N, *S]``, on the judge's device."""
        return self.judge.features(images)

    @torch.no_grad()
    def logits(self, features: Tensor) -> Tensor:
        """``[N, K]`` of features ``[N, F]``."""
        result: Tensor = self.judge.model.head(features)
        return result


@dataclass(frozen=True, eq=False)
class Inception:
    """Inception-v3 as FID, KID and inception score were defined with."""

    network: nn.Module
    """Features ``[N, F]`` of colour images uint8 ``[N, 3, H, W]``."""
    head: Tensor
    """Weights of the last layer ``[K, F]``, which the inception score takes without its bias."""
    suffix: str = ""

    @torch.no_grad()
    def features(self, images: Tensor) -> Tensor:
        """``[N, F]`` of images ``[N, C, H, W]`` in [0, 1], rounded as a sampler writes them."""
        levels = to_levels(images.clamp(0.0, 1.0)).to(self.head.device)
        colour = levels.expand(-1, 3, -1, -1)

        def features_of(part: slice) -> Tensor:
            found: Tensor = self.network(colour[part])
            return found

        return joined(features_of, len(colour), BLOCK, self.head.device)

    def logits(self, features: Tensor) -> Tensor:
        """``[N, K]`` of features ``[N, F]``."""
        return features @ self.head.T


@dataclass(frozen=True)
class Pixels:
    """The pixels themselves, of large images averaged over squares; of vectors the columns."""

    device: torch.device
    suffix: str = "_pixels"

    def features(self, images: Tensor) -> Tensor:
        """``[N, F]`` of images ``[N, C, H, W]`` in [0, 1], on the device."""
        return shrink(images.to(self.device)).flatten(1)


class Sampler(Protocol):
    """What is asked of a model; see :class:`distvae.models.VAE`."""

    @property
    def domain(self) -> Domain:
        """Of what it draws."""

    @property
    def conditional(self) -> bool:
        """Whether it draws an image of a label."""

    def sample_batches(self, labels: Labels | None, n: int, seed: int) -> Iterator[Tensor]:
        """``n`` images of each label, or ``n`` in all, in batches ``[B, C, H, W]`` in [0, 1]."""


def find_extractors(judges: Ensemble | None, device: torch.device) -> Sequence[Extractor]:
    """Inception where its weights are on this machine, else every judge; none without labels.

    Args:
        judges: of the data, None where they have no labels.
        device: where Inception computes; the judges stay where they are.

    Raises:
        DistvaeError: the weights of Inception are damaged.
    """
    if path := inception_weights():
        return [load_inception(path, device)]
    return [] if judges is None else [JudgeFeatures(judge) for judge in judges.members]


def inception_weights() -> Path | None:
    """The file of Inception's weights, None where it or the package torch_fidelity is missing."""
    path = Path(torch.hub.get_dir(), "checkpoints", WEIGHTS)
    return path if find_spec("torch_fidelity") and path.is_file() else None


def load_inception(path: Path, device: torch.device) -> Inception:
    """Inception from a file, needing the package torch_fidelity.

    Raises:
        DistvaeError: the file is not what its name says.
    """
    from torchmetrics.image.fid import NoTrainInceptionV3

    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if not found.startswith(digest := path.stem.rpartition("-")[2]):
        raise DistvaeError(
            f"{path} is damaged",
            f"its SHA-256 begins with {found[: len(digest)]} and not with {digest}",
            "Delete it: the judge then takes Inception's place.",
        )
    network = NoTrainInceptionV3("inception-v3-compat", ["2048"], str(path)).to(device)
    assert isinstance(network.fc, nn.Linear)
    return Inception(network, network.fc.weight)


def real_images(images: ResidentImages, domain: Domain, rows: Tensor) -> Iterator[Tensor]:
    """The examples of some rows as a model would draw them, in batches ``[B, *S]``."""
    each = BYTES * math.prod(images.stored.shape[1:])
    size = min(LARGEST, fitting(each, images.device, BATCH))
    for part in torch.split(rows.to(images.stored.device), size):
        yield domain.to_values(images.gather(part)[0])


def extract(spaces: Sequence[Space], batches: Iterable[Tensor], advance: Advance) -> list[Tensor]:
    """Features ``[N, F]`` in each space; ``advance`` is told the number of images."""
    found: list[list[Tensor]] = [[] for _ in spaces]
    for batch in batches:
        for images in torch.split(batch, LARGEST):
            for space, parts in zip(spaces, found, strict=True):
                parts.append(space.features(images))
            advance(len(images))
    return [torch.cat(parts) for parts in found]


def spaced(length: int, count: int) -> Tensor:
    """``count`` of so many rows, evenly; rows come again where there are fewer."""
    return torch.arange(count) * length // count
