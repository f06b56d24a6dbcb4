"""Pixels that lie between black and white and mostly near them.

Legend: B batch, C channels, H height, W width.
Images are float in [0, 1].
"""

import math

import torch
from torch import Tensor

from distvae.gradients import held
from distvae.likelihoods.base import Likelihood, inverted
from distvae.parts import EVEN_LEVELS, GREY, Part

SMALL = 0.5
"""Logit below which a series is exact to the last digit and the closed form is not."""
STEEPEST = math.exp(7.0)
"""Size of a logit of the continuous Bernoulli, at most."""
LARGEST = 50.0
"""Logit of the continuous Bernoulli that a decoder begins with, where a pixel never changes."""


class ContinuousBernoulliPart(Part):
    """Grey levels near black or white."""

    name = "continuous_bernoulli"
    builds = "ContinuousBernoulli"
    needs = (EVEN_LEVELS, GREY)


class ContinuousBernoulli(Likelihood):
    """Independent grey pixels with a density on [0, 1], parameterized by logits.

    Loaiza-Ganem and Cunningham 2019 (arXiv:1907.06845), eq. 5 to 8. With logit l the density is
    e^(lx) over its integral, so its logarithm is (x - 1/2) l - log(sinh(l/2) / (l/2)).

    Where a pixel is always black or white the density grows with the logit without end, and one
    such image in which it is not would cost as much. The logit is held between -exp(7) and exp(7):
    the density then falls by a factor of e in 0.23 of a grey level, and not faster.
    """

    maps_per_channel = 1
    is_density = True

    def log_prob(self, images: Tensor, parameters: Tensor) -> Tensor:
        """Log-density summed over pixels and channels, nats per image ``[B]``."""
        parameters = held(parameters, STEEPEST)
        size, square = _apart(parameters), parameters.square()
        series = square / 24.0 - square.square() / 2880.0
        closed = 0.5 * size + torch.log1p(-torch.exp(-size)) - torch.log(size)
        normalizer = torch.where(parameters.abs() < SMALL, series, closed)
        return ((images - 0.5) * parameters - normalizer).flatten(1).sum(1)

    def parameters_of(self, mean: Tensor) -> Tensor:
        """Logits; pixels that are always black or white are not taken to be certain."""
        return inverted(self.mean, mean, LARGEST)

    def mean(self, parameters: Tensor) -> Tensor:
        """E[x|z] = 1/2 + coth(l/2) / 2 - 1/l ``[B, C, H, W]``."""
        parameters = held(parameters, STEEPEST)
        square = parameters.square()
        series = parameters * (1.0 / 12.0 - square / 720.0 + square.square() / 30240.0)
        size = torch.where(parameters.abs() < SMALL, SMALL, parameters)
        closed = 0.5 / torch.tanh(0.5 * size) - 1.0 / size
        return 0.5 + torch.where(parameters.abs() < SMALL, series, closed)

    def sample(self, parameters: Tensor, generator: torch.Generator) -> Tensor:
        """Grey images ``[B, C, H, W]``: the quantile of uniform noise, that of -l turned around."""
        uniform = torch.rand(parameters.shape, generator=generator, device=parameters.device)
        falling = -parameters.abs().clamp(1e-3, STEEPEST)
        draw = torch.log1p(uniform * torch.expm1(falling)) / falling
        return self.domain.cut(torch.where(parameters > 0, 1.0 - draw, draw))


def _apart(logits: Tensor) -> Tensor:
    """Absolute values, those near 0 moved away, where the closed forms would divide by 0."""
    return logits.abs().clamp(min=SMALL)
