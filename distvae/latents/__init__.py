"""Latent spaces: where z lives, how it is inferred from features, and how noise becomes z."""

from collections.abc import Callable

from distvae.conditions import ContextShape
from distvae.config import ModelConfig
from distvae.declarations import registry
from distvae.latents.base import (
    Draw,
    Features,
    Latents,
    LatentSpace,
    Level,
    SecondStage,
    estimated_rate,
    known,
    only,
    only_vector,
    side_by_side,
    total,
)
from distvae.priors import Prior

Shapes = tuple[tuple[int, ...], ...]
"""Of an encoder's features, without the batch."""

LATENTS: dict[str, Callable[[ModelConfig, Shapes, ContextShape, Prior], LatentSpace]] = registry(
    "latent_space"
)

__all__ = [
    "LATENTS",
    "Draw",
    "Features",
    "LatentSpace",
    "Latents",
    "Level",
    "SecondStage",
    "estimated_rate",
    "known",
    "only",
    "only_vector",
    "side_by_side",
    "total",
]
