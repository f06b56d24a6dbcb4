"""The diagonal Gaussian posterior and its densities.

Legend: B batch, Z latent dimensions. Everything is in nats; densities and divergences keep the
latent axis so that the caller can sum them, clamp them or report them by dimension.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

LOG_TWO_PI = math.log(2.0 * math.pi)


class DiagonalGaussian(NamedTuple):
    """N(mean, diag(exp(log_variance))), both ``[B, Z]``."""

    mean: Tensor
    log_variance: Tensor

    def sample(self, noise: Tensor) -> Tensor:
        """``mean + exp(log_variance / 2) * noise`` ``[B, Z]`` (Kingma and Welling 2014, eq. 4)."""
        return torch.addcmul(self.mean, torch.exp(0.5 * self.log_variance), noise)

    def log_prob(self, z: Tensor) -> Tensor:
        """Log-density of ``z`` by dimension, nats ``[B, Z]``."""
        return log_normal(z, self.mean, self.log_variance)

    def kl_to_standard_normal(self) -> Tensor:
        """KL to N(0, 1) by dimension, nats ``[B, Z]`` (Kingma and Welling 2014, appendix B)."""
        variance = torch.exp(self.log_variance)
        return 0.5 * (torch.addcmul(variance - self.log_variance, self.mean, self.mean) - 1.0)


def log_normal(x: Tensor, mean: Tensor | float, log_variance: Tensor | float) -> Tensor:
    """Elementwise log-density of N(mean, exp(log_variance)), nats, in the shape of ``x``."""
    log_variance = torch.as_tensor(log_variance, dtype=x.dtype, device=x.device)
    return -0.5 * (LOG_TWO_PI + log_variance + (x - mean).square() * torch.exp(-log_variance))
