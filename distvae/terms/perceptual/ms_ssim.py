"""Structural similarity at several scales.

Legend: R rows, C channels, H height, W width.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from distvae.distributions import full_precision
from distvae.errors import DistvaeError
from distvae.players import RunFacts
from distvae.terms.base import Added, Term, View
from distvae.terms.perceptual.base import LikenessPart
from distvae.values import NotNegative

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Of the scales, the finest first (Wang et al. 2003, section 3.2)."""
WINDOW, SIGMA = 11, 1.5
"""Pixels of a side of the window, and the deviation of its Gaussian weights."""
STABLE = (0.01**2, 0.03**2)
LEAST = 1e-3
"""Below which a similarity of contrasts counts as this much: a root of it has no gradient at 0."""


@dataclass(frozen=True)
class MsSsimPart(LikenessPart):
    """One less MS-SSIM, structural similarity at up to five scales (Wang et al. 2003)."""

    name = "ms_ssim"
    builds = "MsSsim"

    perceptual_weight: NotNegative | None = None
    """Nats for each pixel and channel of images that have nothing in common; left out: 1."""


class MsSsim(Term):
    """``perceptual_weight`` times one less the multi-scale structural similarity.

    Wang, Simoncelli and Bovik 2003, eq. 7. Images too small for five scales have as many as fit,
    their weights scaled to the sum 1.
    """

    def __init__(self, facts: RunFacts) -> None:
        super().__init__(facts)
        self.own = facts.config.of(MsSsimPart)
        scales_of(*facts.shape[1:])

    def forward(self, view: View) -> Added:
        """The term, and MS-SSIM itself."""
        weight = self.own.perceptual_weight
        assert weight is not None
        with full_precision(view.means.device.type):
            likeness = ms_ssim(view.means, view.targets).mean()
        return Added(weight * self.numbers * (1.0 - likeness), {"ms_ssim": likeness})


def scales_of(height: int, width: int) -> int:
    """How many scales images of this size have; each halves the sides.

    Raises:
        DistvaeError: they are smaller than a window.
    """
    shorter = min(height, width)
    if shorter < WINDOW:
        raise DistvaeError(
            f"--perceptual ms_ssim does not fit images of {height} x {width} pixels",
            f"it looks at windows of {WINDOW} x {WINDOW}",
            "Leave it out, or take a larger --image-size.",
        )
    return min(len(WEIGHTS), int(math.log2(shorter / WINDOW)) + 1)


def ms_ssim(first: Tensor, second: Tensor) -> Tensor:
    """MS-SSIM of rows of images in [0, 1] ``[R, C, H, W]``, the mean over channels ``[R]``."""
    weights = WEIGHTS[: scales_of(*first.shape[2:])]
    window = _window(first)
    logs = []
    for scale, weight in enumerate(weights):
        if scale:
            first, second = F.avg_pool2d(first, 2), F.avg_pool2d(second, 2)
        whole, contrast = _similarities(first, second, window)
        part = whole if scale == len(weights) - 1 else contrast
        logs.append(weight / sum(weights) * part.clamp_min(LEAST).log())
    return torch.stack(logs).sum(0).exp().mean(1)


def _similarities(first: Tensor, second: Tensor, window: Tensor) -> tuple[Tensor, Tensor]:
    """The mean over places of SSIM, and of its part without brightness ``[R, C]``."""
    mean_a, mean_b = _smooth(first, window), _smooth(second, window)
    variances = _smooth(first.square() + second.square(), window)
    variances = variances - mean_a.square() - mean_b.square()
    covariance = _smooth(first * second, window) - mean_a * mean_b
    low, high = STABLE
    contrast = (2.0 * covariance + high) / (variances + high)
    brightness = (2.0 * mean_a * mean_b + low) / (mean_a.square() + mean_b.square() + low)
    return (brightness * contrast).mean((2, 3)), contrast.mean((2, 3))


def _window(like: Tensor) -> Tensor:
    """Gaussian weights ``[WINDOW]`` of the sum 1."""
    places = torch.arange(WINDOW, device=like.device, dtype=like.dtype) - WINDOW // 2
    return torch.softmax(-0.5 * (places / SIGMA).square(), 0)


def _smooth(images: Tensor, window: Tensor) -> Tensor:
    """Weighted means around each place whose window lies inside."""
    flat = images.flatten(0, 1).unsqueeze(1)
    flat = F.conv2d(F.conv2d(flat, window.view(1, 1, -1, 1)), window.view(1, 1, 1, -1))
    return flat.view(*images.shape[:2], *flat.shape[2:])
