"""What every likelihood does.

Legend: B batch, C channels, H height, W width, P parameter maps (C times ``maps_per_channel``).
Images are float in [0, 1]. A likelihood is a module because its own parameters, such as a learned
sigma, are trained with the model.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

from distvae.distributions import Wide

GREY_LEVELS = 256


class Likelihood(Wide, ABC):
    """The contract of this part."""

    maps_per_channel: int
    """Parameter maps the decoder gives for each image channel."""
    quantization: float
    """Nats per pixel and channel to add to -log p(x|z) so that it counts grey levels: log 256
    for a density over [0, 1], 0 for a probability."""

    @abstractmethod
    def log_prob(self, images: Tensor, parameters: Tensor) -> Tensor:
        """Log p(x|z), nats per image ``[B]``, of ``images [B, C, H, W]`` in [0, 1]."""

    def log_prob_of_draws(self, images: Tensor, parameters: Tensor) -> Tensor:
        """The same of K draws for each image, ``[B, K]``, of ``parameters [B * K, P, H, W]``."""
        count = len(parameters) // len(images)
        return self.log_prob(images.repeat_interleave(count, 0), parameters).view(-1, count)

    @abstractmethod
    def parameters_of(self, mean: Tensor) -> Tensor:
        """Parameters ``[P, H, W]`` whose mean is this image ``[C, H, W]``, nearly."""

    @abstractmethod
    def mean(self, parameters: Tensor) -> Tensor:
        """E[x|z] ``[B, C, H, W]`` in [0, 1]."""

    @abstractmethod
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
