"""What noisy or missing pixels say of a picture, given the mean that a decoder draws.

A decoder's mean is not the picture: how pixels lie around it is counted on training images, in a
table p(x | m) of grey levels x and means m. What was seen of a pixel, y, then has the likelihood
sum over x of p(x | m) p(y | x), and the pixel behind it the mean E[x | y, m].

Legend: N pixels, B examples, K draws for each, R rows: B * K, P pixels of an example (of all
channels), M means and L levels of the table.
"""

import math
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distvae.tools.corruption import Noise

MEANS, LEVELS = 33, 33
SMOOTH = 1.0
"""Pixels that are added to each mean's own level, so that no row is empty."""


class PixelLaw(NamedTuple):
    """p(x | m): how pixels lie around the decoder's mean."""

    table: Tensor
    """``[M, L]``, rows add up to 1; both axes are even from 0 to 1."""

    @property
    def levels(self) -> Tensor:
        """``[L]``."""
        return torch.linspace(0.0, 1.0, self.table.shape[1], dtype=self.table.dtype)


def exact_law() -> PixelLaw:
    """A picture is the decoder's mean itself."""
    return PixelLaw(torch.eye(MEANS))


class Counts:
    """Pixels and the means that a decoder drew of them, counted."""

    def __init__(self) -> None:
        self._counts = np.eye(MEANS, LEVELS) * SMOOTH

    def add(self, means: NDArray[np.floating], pixels: NDArray[np.floating]) -> None:
        """Take in means and pixels in [0, 1], of equal shape; each counts by its nearness."""
        for shares, places in zip(*_split(means.ravel(), MEANS), strict=True):
            level = np.rint(np.clip(pixels.ravel(), 0.0, 1.0) * (LEVELS - 1)).astype(np.int64)
            flat = places * LEVELS + level
            found = np.bincount(flat, shares, MEANS * LEVELS)
            self._counts += found.reshape(MEANS, LEVELS)

    @property
    def law(self) -> PixelLaw:
        """What was counted."""
        table = self._counts / self._counts.sum(1, keepdims=True)
        return PixelLaw(torch.from_numpy(table.astype(np.float32)))


def _split(
    values: NDArray[np.floating], size: int
) -> tuple[list[NDArray[np.float64]], list[NDArray[np.int64]]]:
    """Each value's two neighbours on an even grid: shares of it, and places."""
    place = np.clip(np.asarray(values, np.float64), 0.0, 1.0) * (size - 1)
    low = np.minimum(place.astype(np.int64), size - 2)
    above = place - low
    return [1.0 - above, above], [low, low + 1]


class Evidence:
    """What is known of some pictures.

    Args:
        seen: pixels as they were seen ``[B, P]``; those that were not seen may be anything.
        known: which were seen, bool ``[B, P]``.
        noise: what was done to them.
        law: how pixels lie around the decoder's mean.
    """

    def __init__(self, seen: Tensor, known: Tensor, noise: Noise, law: PixelLaw) -> None:
        levels = law.levels.to(seen.device)
        channel = noise.channel(seen, levels)  # [B, P, L], log p(y | x)
        table = law.table.to(seen.device)
        most = channel.amax(2, keepdim=True)
        weights = (channel - most).exp()
        total = weights @ table.T
        tiny = torch.finfo(seen.dtype).tiny
        log_seen = total.clamp(min=tiny).log() + most
        self._log_seen = torch.where(known[..., None], log_seen, 0.0)
        expected = (weights * levels) @ table.T / total.clamp(min=tiny)
        plain = (table @ levels).expand_as(expected)
        self._expected = torch.where(known[..., None], expected, plain)

    def log_likelihood(self, means: Tensor) -> Tensor:
        """Nats ``[R]`` of the decoder's means ``[R, P]``."""
        return self._read(self._log_seen, means).sum(1)

    def score(self, means: Tensor) -> Tensor:
        """The slope of the log likelihood by each mean ``[R, P]``."""
        with torch.enable_grad():
            given = means.detach().requires_grad_()
            (slope,) = torch.autograd.grad(self.log_likelihood(given).sum(), given)
        return slope

    def expected(self, means: Tensor) -> Tensor:
        """The picture behind what was seen, were these the decoder's means ``[R, P]``."""
        return self._read(self._expected, means)

    def _read(self, table: Tensor, means: Tensor) -> Tensor:
        """Values of ``[B, P, M]`` at means ``[R, P]``, linear between the table's."""
        batch, pixels, size = table.shape
        draws = len(means) // batch
        place = means.clamp(0.0, 1.0).view(batch, draws, pixels).transpose(1, 2) * (size - 1)
        low = place.detach().floor().clamp(max=size - 2)
        at = low.long()
        below, above = table.gather(2, at), table.gather(2, at + 1)
        found = below + (place - low) * (above - below)
        return found.transpose(1, 2).reshape(len(means), pixels)


def gaussian_log(values: Tensor, means: Tensor, deviation: float) -> Tensor:
    """Log density of a Gaussian."""
    scaled = (values - means) / deviation
    return -0.5 * scaled.square() - math.log(deviation * math.sqrt(2.0 * math.pi))
