"""Likeness of images by the maps that a fixed network has of them.

Legend: R rows, B batch, C channels, H height, W width.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distvae.distributions import full_precision, wide
from distvae.players import RunFacts
from distvae.terms.base import Added, Term, View

Maps = Callable[[Tensor], Iterable[Tensor]]
"""Images ``[R, C, H, W]`` in [0, 1] to maps, each ``[R, channels, height, width]``."""


class LikenessOfMaps(Term):
    """A weight times the distance of the maps of a fixed network, times the numbers of an image.

    Args:
        facts: of the run.
        network: whose maps are compared; gradients pass through it.
        weight: nats for each number of images whose maps are a squared distance of 1 apart.
    """

    def __init__(self, facts: RunFacts, network: nn.Module, weight: float | None) -> None:
        super().__init__(facts)
        assert weight is not None
        self.network, self.weight = network, weight

    def forward(self, view: View) -> Added:
        """The term, and the distance itself."""
        with full_precision(view.means.device.type):
            distance = distance_of_maps(self.network, view.means.float(), view.targets.float())
        return Added(self.weight * self.numbers * distance, {"perceptual_distance": distance})


def distance_of_maps(network: Maps, first: Tensor, second: Tensor) -> Tensor:
    """How far apart the maps of two batches of images are, a scalar from 0 to 4.

    The channels at each place of a map are scaled to length 1; it is the squared distance of these,
    the mean over places and rows, then over maps.

    Args:
        network: that has the maps.
        first: images, through which gradients pass.
        second: the images that they are held against.
    """
    with torch.no_grad():
        theirs = [_unit(each) for each in network(second)]
    pairs = zip(network(first), theirs, strict=True)
    each = [(_unit(own) - other).square().sum(1).mean() for own, other in pairs]
    return torch.stack(each).mean()


def _unit(maps: Tensor) -> Tensor:
    return F.normalize(wide(maps), dim=1, eps=1e-6)


class Layer(NamedTuple):
    """A convolution of stride 2 around each place, and a ReLU."""

    weight: Tensor
    """``[C', C, K, K]``, K odd."""
    bias: Tensor
    """``[C']``."""


class Convolutions(nn.Module):
    """The maps of convolutions one after another, of images of any size.

    Nothing of it is trained; all of it is in the checkpoints of a run.

    Args:
        mean: of the numbers of each channel ``[C]``, which is taken off images.
        scale: by which they are multiplied then ``[C]``.
        layers: one after another.
        told: what to say of it at the start of a run.
    """

    mean: Tensor
    scale: Tensor

    def __init__(
        self, mean: Tensor, scale: Tensor, layers: Sequence[Layer], told: str = ""
    ) -> None:
        super().__init__()
        self.told = told
        self.register_buffer("mean", mean.view(-1, 1, 1))
        self.register_buffer("scale", scale.view(-1, 1, 1))
        for number, layer in enumerate(layers):
            for name, value in layer._asdict().items():
                self.register_buffer(f"{name}{number}", value)
        self.count = len(layers)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Maps of each layer, the finest first."""
        maps, found = (images - self.mean) * self.scale, []
        for number in range(self.count):
            weight, bias = self.get_buffer(f"weight{number}"), self.get_buffer(f"bias{number}")
            maps = F.relu(F.conv2d(maps, weight, bias, 2, weight.shape[-1] // 2))
            found.append(maps)
        return found
