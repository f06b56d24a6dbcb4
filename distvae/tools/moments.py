"""Mean and deviation of latents by channel, over images and places.

Legend: B images, Z channels, S the sides of the latents.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Moments:
    """Sums over the places of some images."""

    sums: NDArray[np.float64]
    """``[4, Z]``: of means, of their squares, of variances, and how many."""
    shape: tuple[int, ...]
    """``Z, *S`` of an image; empty where these differ."""

    @classmethod
    def of(cls, mean: NDArray[np.float32], log_variance: NDArray[np.float32]) -> "Moments":
        """Of posteriors ``[B, Z, *S]``."""
        wide, axes = mean.astype(np.float64), (0, *range(2, mean.ndim))
        variances = np.exp(log_variance.astype(np.float64)).sum(axes)
        count = np.full(wide.shape[1], wide.size / wide.shape[1])
        sums = np.stack([wide.sum(axes), np.square(wide).sum(axes), variances, count])
        return cls(sums, mean.shape[1:])

    def facts(self) -> dict[str, Any]:
        """What a diffusion trainer asks for, by the names that diffusers has.

        Deviations are those of draws of the posteriors. ``scaling_factor`` makes that of all
        channels together 1; a trainer that takes each channel for itself takes ``latents_mean`` and
        ``latents_std``.
        """
        total, squares, variances, count = self.sums
        mean = total / count
        second = (squares + variances) / count
        deviation = np.sqrt(second - np.square(mean))
        overall = np.sqrt(second.mean() - np.square(mean.mean()))
        return {
            "scaling_factor": 1.0 / float(overall),
            "shift_factor": 0.0,
            "latents_mean": mean.tolist(),
            "latents_std": deviation.tolist(),
            "latent_shape": list(self.shape) or None,
        }
