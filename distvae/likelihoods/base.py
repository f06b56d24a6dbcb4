"""What every likelihood does.

Legend: B batch, C channels, P parameter maps (C times ``maps_per_channel``), S the axes of an
example, of which C is the first and R are the rest. A likelihood is a module because its own
parameters, such as a learned sigma, are trained with the model.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

from distvae.config import ModelConfig
from distvae.distributions import Wide
from distvae.domains import Domain
from distvae.errors import DistvaeError


class Likelihood(Wide, ABC):
    """The contract of this part."""

    maps_per_channel: int
    """Parameter maps the decoder gives for each channel of an example."""
    is_density: bool
    """Whether ``log_prob`` is the logarithm of a density over [0, 1], else of a probability."""

    of_reals = False
    """Whether it describes any real numbers, and not only those of [0, 1]."""

    def __init__(self, config: ModelConfig, domain: Domain) -> None:
        super().__init__()
        if domain.levels is None and not self.of_reals:
            raise DistvaeError(
                f"this likelihood describes levels from 0 to 1, and the data are {domain.told}",
                "expected data of levels, such as images",
                "Take --likelihood gaussian.",
            )
        self.domain = domain

    @property
    def quantization(self) -> float:
        """Nats for each number of an example to add to -log p(x|z) so that it counts levels."""
        return math.log(self.domain.levels) if self.is_density and self.domain.levels else 0.0

    @abstractmethod
    def log_prob(self, images: Tensor, parameters: Tensor) -> Tensor:
        """Log p(x|z), nats per example ``[B]``, of inputs ``[B, *S]``."""

    def log_prob_of_draws(self, images: Tensor, parameters: Tensor) -> Tensor:
        """The same of K draws for each example, ``[B, K]``, of ``parameters [B * K, P, *R]``."""
        count = len(parameters) // len(images)
        return self.log_prob(images.repeat_interleave(count, 0), parameters).view(-1, count)

    def excess(self, images: Tensor, parameters: Tensor) -> Tensor | None:
        """Nats by which images ``[B, *S]`` cost more than where they are the means ``[B]``.

        None where each pixel has a width of its own, so that a mean says nothing of the nats. Where
        it is known, ``parameters_of`` takes a batch.
        """
        return None

    @abstractmethod
    def parameters_of(self, mean: Tensor) -> Tensor:
        """Parameters ``[P, *R]`` whose mean is this example ``[C, *R]``, nearly."""

    @abstractmethod
    def mean(self, parameters: Tensor) -> Tensor:
        """E[x|z] ``[B, C, *R]``."""

    @abstractmethod
    def sample(self, parameters: Tensor, generator: torch.Generator) -> Tensor:
        """One draw of x given z ``[B, C, *R]``."""


def split_maps(parameters: Tensor, *sizes: int) -> Tensor:
    """``[B, P, *R]`` to ``[B, *sizes, C, *R]``."""
    return parameters.reshape(parameters.shape[0], *sizes, -1, *parameters.shape[2:])


def averaged(logits: Tensor, values: Tensor) -> Tensor:
    """Mean of values by weight: ``[B, N, C, *R]`` to ``[B, C, *R]``."""
    weights = torch.exp(logits - logits.amax(1, keepdim=True))
    return _sum(weights * values) / _sum(weights)


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


def levels_of(domain: Domain) -> int:
    """How many even values there are; a likelihood of real numbers has no use for it."""
    assert domain.levels is not None
    return domain.levels
