"""What every likelihood does.

Legend: B batch, C channels, H height, W width, P parameter maps (C times ``maps_per_channel``).
Images are float in [0, 1]. A likelihood is a module because its own parameters, such as a learned
sigma, are trained with the model.
"""

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

GREY_LEVELS = 256


class Likelihood(Protocol):
    """The contract of this part."""

    maps_per_channel: int
    """Parameter maps the decoder gives for each image channel."""
    quantization: float
    """Nats per pixel and channel to add to -log p(x|z) so that it counts grey levels: log 256
    for a density over [0, 1], 0 for a probability."""

    def log_prob(self, images: Tensor, parameters: Tensor) -> Tensor:
        """Log p(x|z), nats per image ``[B]``, of ``images [B, C, H, W]`` in [0, 1]."""

    def parameters_of(self, mean: Tensor) -> Tensor:
        """Parameters ``[P, H, W]`` whose mean is this image ``[C, H, W]``, nearly."""

    def mean(self, parameters: Tensor) -> Tensor:
        """E[x|z] ``[B, C, H, W]`` in [0, 1]."""

    def sample(self, parameters: Tensor, generator: torch.Generator) -> Tensor:
        """One draw of x given z ``[B, C, H, W]`` in [0, 1]."""


def split_maps(parameters: Tensor, *sizes: int) -> Tensor:
    """``[B, P, H, W]`` to ``[B, *sizes, C, H, W]``."""
    batch, _, height, width = parameters.shape
    return parameters.reshape(batch, *sizes, -1, height, width)


def averaged(logits: Tensor, values: Tensor) -> Tensor:
    """Mean of values by weight, cut to [0, 1]: ``[B, N, C, H, W]`` to ``[B, C, H, W]``."""
    weights = torch.exp(logits - logits.amax(1, keepdim=True))
    return (_sum(weights * values) / _sum(weights)).clamp(0.0, 1.0)


def _sum(parts: Tensor) -> Tensor:
    """Over the second axis by halves, an order that no runtime changes with the batch."""
    while (count := parts.shape[1]) > 1:
        half = count // 2
        added = parts[:, :half] + parts[:, half : 2 * half]
        parts = torch.cat([added, parts[:, 2 * half :]], dim=1) if count % 2 else added
    return parts[:, 0]


def inverted(mean_of: Callable[[Tensor], Tensor], mean: Tensor, largest: float) -> Tensor:
    """Where a growing function has the value ``mean``, between ``-largest`` and ``largest``."""
    low = torch.full_like(mean, -largest, dtype=torch.float64)
    high = -low
    for _ in range(60):  # halvings of the interval, to the last digit
        middle = 0.5 * (low + high)
        below = mean_of(middle) < mean
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return low.to(mean.dtype)
