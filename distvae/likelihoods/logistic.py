"""What likelihoods of logistics share: their mass in the bins of levels.

Legend: B batch, M logistics of a pixel, C channels, H height, W width, P parameter maps (C times
``maps_per_channel``). Images are float in [0, 1].
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from distvae.likelihoods.base import inverted

COARSE = 256
NARROW, REACH = 0.6, 6
"""Scale, in steps between levels, below which only levels so near to the location have a part in
the mean."""
LEAST, MOST, USUAL = -5.0, 20.0, -2.0
"""Log-scale, of 256 levels and from its usual value, that a bin never vanishes and no scale runs
away; the usual value."""
FARTHEST = 1.5
"""Location, from the middle, that a decoder begins with, where a pixel never changes."""
WIDE = 2.0
"""Scale above which the differences that the mean is made of are too small for float32."""


def log_scale_of(parameter: Tensor, levels: int) -> Tensor:
    """Bounded, so that a bin never vanishes: between -7 and 18 of 256 levels."""
    return parameter.clamp(LEAST - math.log((levels - 1) / (COARSE - 1)), MOST) + USUAL


def location_of(mean: Tensor, levels: int) -> Tensor:
    """The location, from the middle, of a logistic with this mean and a scale not yet learned."""

    def mean_of(location: Tensor) -> Tensor:
        return expected(location + 0.5, log_scale_of(torch.zeros_like(location), levels), levels)

    return inverted(mean_of, mean, FARTHEST)


def log_mass(images: Tensor, location: Tensor, log_scale: Tensor, levels: int) -> Tensor:
    """Log-probability of levels in [0, 1] under logistics, elementwise."""
    half_bin = 0.5 / (levels - 1)
    inverse_scale = torch.exp(-log_scale)
    upper = (images - location + half_bin) * inverse_scale
    lower = (images - location - half_bin) * inverse_scale
    # sigmoid(u) - sigmoid(l) = sigmoid(u) sigmoid(-l) (1 - e^(l-u)), stable in both tails
    inside = F.logsigmoid(upper) + F.logsigmoid(-lower)
    inside = inside + torch.log(-torch.expm1(-2.0 * half_bin * inverse_scale))
    return torch.where(
        images < half_bin,
        F.logsigmoid(upper),
        torch.where(images > 1.0 - half_bin, F.logsigmoid(-lower), inside),
    )


def expected(location: Tensor, log_scale: Tensor, levels: int) -> Tensor:
    """Means of discretized logistics, elementwise, in steps of [0, 1], to 1e-6.

    The mean is the sum of P(x >= k s) over the levels k from 1, times the step s: that of a
    sigmoid at the lower edges of their bins. Where the sigmoid is steeper than the edges are dense,
    all but few terms are 0 or 1. Elsewhere it is the sigmoid's integral, which has a closed form,
    and what Euler and Maclaurin add to it at both ends of [0, 1] (DLMF 2.10.1, for midpoints).
    """
    scale = log_scale.exp()
    step = 1.0 / (levels - 1)
    few, many = _few_levels(location, scale, levels), _integral(location, scale, step)
    mean = torch.where(scale < NARROW * step, few, many)
    return torch.where(scale > WIDE, _nearly_linear(location, scale), mean).clamp(0.0, 1.0)


def _few_levels(location: Tensor, scale: Tensor, levels: int) -> Tensor:
    step = 1.0 / (levels - 1)
    nearest = torch.round(location / step).clamp(0, levels - 1)
    total = (nearest - REACH).clamp(min=0)
    for offset in range(1 - REACH, REACH + 1):
        level = nearest + offset
        share = torch.sigmoid((location - (level - 0.5) * step) / scale)
        total = total + torch.where((level >= 1) & (level < levels), share, 0.0)
    return total * step


def _integral(location: Tensor, scale: Tensor, step: float) -> Tensor:
    black, white = location / scale, (location - 1.0) / scale
    steps = step / scale

    def end(argument: Tensor) -> Tensor:
        share = torch.sigmoid(argument)
        slope = share * (1.0 - share)  # its second derivative is slope (1 - 6 slope)
        powers = steps / 24.0 - 7.0 / 5760.0 * steps * steps * steps * (1.0 - 6.0 * slope)
        return scale * F.softplus(argument) - step * slope * powers

    return end(black) - end(white)


def _nearly_linear(location: Tensor, scale: Tensor) -> Tensor:
    """The integral by the sigmoid's derivatives in the middle."""
    share = torch.sigmoid((location - 0.5) / scale)
    slope = share * (1.0 - share)
    bend = slope * (1.0 - 2.0 * share) / (scale * scale)
    return share + bend / 24.0 + bend * (1.0 - 12.0 * slope) / (1920.0 * scale * scale)


def drawn(location: Tensor, log_scale: Tensor, uniform: Tensor, levels: int) -> Tensor:
    """Levels in [0, 1] that are the quantiles of uniform noise, elementwise."""
    draw = location + torch.logit(uniform, eps=1e-6) * log_scale.exp()
    return (draw * (levels - 1)).round().clamp(0, levels - 1) / (levels - 1)
