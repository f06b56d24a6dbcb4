"""A convolutional network that says of each part of an image whether a model drew it.

Legend: R rows, C channels, H height, W width.
"""

import itertools
import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from distvae.conditions import NOTHING, Context, ContextShape, summed
from distvae.distributions import wide
from distvae.errors import DistvaeError

USUAL_LAYERS = 3
WIDEST = 8
"""Most channels, over those of the first layer."""
GROUP = 16
"""Channels that are normalized together."""
FEW_PLACES = 4
"""Along a side, below which layers that were left out are fewer."""
SLOPE = 0.2


class Judged(NamedTuple):
    """What it says of images."""

    logits: Tensor
    """Above 0 where a part looks like one of an image ``[R, 1, H', W']``, float32."""
    maps: list[Tensor]
    """What its layers found on the way, each ``[R, C', H', W']``, the finest first."""


class PatchDiscriminator(nn.Module):
    """Convolutions of stride 2, then two that see more around each place.

    After Isola et al. 2017 (arXiv:1611.07004, section 3.2.2), with group normalization (Wu and He
    2018, arXiv:1803.08494) where they have that of a batch: each image is judged by itself, whoever
    else is in its batch and on whichever process.

    Args:
        shape: of images ``(C, H, W)``.
        layers: that halve the sides.
        width: channels of the first layer; each further one has twice as many, up to 8 times.
        given: what it is told of an image, by projection (Miyato and Koyama 2018,
            arXiv:1802.05637, eq. 3): what a label has learned to expect of the last features at a
            place is added to the logit there; it begins at zero.
    """

    def __init__(
        self, shape: tuple[int, ...], layers: int, width: int, given: ContextShape = NOTHING
    ) -> None:
        super().__init__()
        widths = [min(2**number, WIDEST) * width for number in range(layers + 1)]
        steps: list[nn.Module] = [_layer(nn.Conv2d(shape[0], width, 4, 2, 1), normed=False)]
        for before, after in itertools.pairwise(widths[:-1]):
            steps.append(_layer(nn.Conv2d(before, after, 4, 2, 1)))
        steps.append(_layer(nn.Conv2d(widths[-2], widths[-1], 3, 1, 1)))
        self.layers = nn.ModuleList(steps)
        self.out = nn.Conv2d(widths[-1], 1, 3, 1, 1)
        rows, numbers, last = given.rows, given.numbers, widths[-1]
        self.table = nn.Parameter(torch.zeros(rows, last)) if rows else None
        self.linear = nn.Parameter(torch.zeros(last, numbers)) if numbers else None
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, images: Tensor, context: Context | None = None) -> Judged:
        """``images [R, C, H, W]`` in [0, 1], and what they are given, where it is told."""
        features, maps = 2.0 * images - 1.0, []
        for layer in self.layers:
            features = layer(features)
            maps.append(features)
        logits = wide(self.out(features))
        if self.table is not None or self.linear is not None:
            expected = summed(context, self.table, self.linear)[:, :, None, None]
            logits = logits + (wide(features) * expected).sum(1, keepdim=True)
        return Judged(logits, maps)


def _layer(conv: nn.Conv2d, normed: bool = True) -> nn.Sequential:
    channels = conv.out_channels
    groups = channels // GROUP if channels % GROUP == 0 else 1
    norm = nn.GroupNorm(groups, channels) if normed else nn.Identity()
    return nn.Sequential(conv, norm, nn.LeakyReLU(SLOPE))


def fitting_layers(shape: tuple[int, ...], asked: int | None) -> int:
    """How many layers halve the sides of images ``(C, H, W)``: as asked, else as many as usual.

    Where these would leave fewer than ``FEW_PLACES`` along the shorter side, there are fewer of
    them, one at least.

    Raises:
        DistvaeError: a side is too short for what was asked, or for any.
    """
    height, width = shape[1:]
    most = int(math.log2(max(1, min(height, width)))) - 1
    size = f"images of {height} x {width} pixels"
    if most < 1:
        raise DistvaeError(
            f"--critic does not fit {size}",
            "it halves the sides at least once, and looks at two places along each then",
            "Leave it out, or take an --image-size of 4 or more.",
        )
    if asked is None:
        places = min(height, width) / FEW_PLACES
        return max(1, min(USUAL_LAYERS, int(math.log2(max(1.0, places)))))
    if asked > most:
        raise DistvaeError(
            f"--critic-layers {asked} does not fit {size}",
            "each halves the sides, and two places along each are left at least",
            f"Take {most} or fewer.",
        )
    return asked
