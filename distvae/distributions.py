"""The diagonal Gaussian and its densities.

Legend: B batch, K samples of one posterior, Z latent dimensions. Everything is in nats.
"""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import torch
from torch import Tensor, nn

from distvae.gradients import drawn_normal, rate_of_standard_normal

LOG_TWO_PI = math.log(2.0 * math.pi)
LOG_SCALE = 10.0
"""Bound of the logarithm of a scale in the latents, be it learned or what an encoder gives.

Where images are alike, posterior and prior may narrow together for nothing, without end. At
exp(-10), 4.5e-5, a code is told from its neighbours as well as it ever need be, and float32 still
has a hundred steps in a standard deviation; beyond exp(10) nothing is left to tell.
"""


class DiagonalGaussian(NamedTuple):
    """N(mean, diag(exp(log_variance))), both ``[B, Z]``."""

    mean: Tensor
    log_variance: Tensor

    @property
    def base(self) -> "DiagonalGaussian":
        """The Gaussian itself: no flow is on top."""
        return self

    def sample(self, noise: Tensor) -> Tensor:
        """``mean + exp(log_variance / 2) * noise`` (Kingma and Welling 2014, eq. 4)."""
        return drawn_normal(self.mean, self.log_variance, noise)

    def log_prob(self, z: Tensor) -> Tensor:
        """Log-density of ``z [B, Z]``, nats ``[B]``."""
        return log_normal(z, self.mean, self.log_variance).sum(-1)

    def detached(self) -> "DiagonalGaussian":
        """The same as a constant: its densities pass gradients to ``z`` alone."""
        return DiagonalGaussian(self.mean.detach(), self.log_variance.detach())

    def over_draws(self) -> "DiagonalGaussian":
        """The same for K draws of each row: takes and gives ``[B, K, Z]`` and ``[B, K]``."""
        return DiagonalGaussian(self.mean.unsqueeze(1), self.log_variance.unsqueeze(1))

    def kl_to_standard_normal(self) -> Tensor:
        """KL to N(0, 1) by dimension, nats ``[B, Z]`` (Kingma and Welling 2014, appendix B)."""
        return rate_of_standard_normal(self.mean, self.log_variance)


def log_normal(x: Tensor, mean: Tensor | float, log_variance: Tensor | float) -> Tensor:
    """Elementwise log-density of N(mean, exp(log_variance)), nats, in the shape of ``x``."""
    if isinstance(log_variance, Tensor):
        log_variance = log_variance.to(x.dtype)
    else:  # a kernel makes it, and nothing goes over from the host
        log_variance = x.new_full((), log_variance)
    return -0.5 * (LOG_TWO_PI + log_variance + (x - mean).square() * torch.exp(-log_variance))


def full_precision(device_type: str) -> AbstractContextManager[object]:
    """Float32 for what is inside, also where the networks compute in less."""
    if torch.is_autocast_enabled(device_type):
        return torch.autocast(device_type, enabled=False)
    return nullcontext()


def wide(values: Tensor) -> Tensor:
    """Values in float32 where they were in less."""
    return values if values.dtype == torch.float64 else values.float()


class Wide(nn.Module):
    """A module whose numbers stay in float32 where the networks beside it go to less.

    Densities are taken in float32, whatever computes the features.
    """

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Wide":
        def kept(tensor: Tensor) -> Tensor:
            changed = fn(tensor)
            narrower = changed.dtype.itemsize < min(tensor.dtype.itemsize, torch.float32.itemsize)
            return tensor.to(changed.device) if tensor.is_floating_point() and narrower else changed

        return super()._apply(kept, recurse)  # type: ignore[no-untyped-call, no-any-return]
