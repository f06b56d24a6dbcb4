"""Mean and deviation of latents by channel, over images and places.

Legend: B images, Z channels, H height, W width.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Moments:
    """Sums over the places of some images."""

    tensor: Tensor
    """float64 ``[4, Z]``: of means, of their squares, of variances, and how many."""
    shape: tuple[int, ...]
    """``Z, H, W`` of an image."""

    @classmethod
    def of(cls, mean: Tensor, log_variance: Tensor) -> "Moments":
        """Of posteriors ``[B, Z, H, W]``."""
        wide, axes = mean.double(), (0, 2, 3)
        count = wide.new_full((wide.shape[1],), wide.numel() / wide.shape[1])
        sums = wide.sum(axes), wide.square().sum(axes), log_variance.double().exp().sum(axes)
        return cls(torch.stack([*sums, count]), tuple(mean.shape[1:]))

    def facts(self) -> dict[str, Any]:
        """What a diffusion trainer asks for, by the names that diffusers has.

        Deviations are those of draws of the posteriors. ``scaling_factor`` makes that of all
        channels together 1; a trainer that takes each channel for itself takes ``latents_mean`` and
        ``latents_std``.
        """
        total, squares, variances, count = self.tensor
        mean = total / count
        second = (squares + variances) / count
        deviation = (second - mean.square()).sqrt()
        overall = (second.mean() - mean.mean().square()).sqrt()
        return {
            "scaling_factor": 1.0 / float(overall),
            "shift_factor": 0.0,
            "latents_mean": mean.tolist(),
            "latents_std": deviation.tolist(),
            "latent_shape": list(self.shape),
        }
