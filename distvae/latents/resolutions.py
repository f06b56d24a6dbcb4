"""How many levels of a ladder there are, and at which resolutions of an image they lie."""

import math
from collections.abc import Sequence

from distvae.config import ModelConfig
from distvae.errors import DistvaeError
from distvae.networks import pyramid

FEWEST, MOST = 3, 12
"""Levels, with the vector."""
USUAL = 6


def spread(levels: int, sizes: Sequence[pyramid.Level]) -> list[int]:
    """How many of the levels below the vector each resolution has, the coarsest first.

    They are as many in each, and one more in the first of them where some are left: a coarse level
    holds more of an image with fewer numbers.
    """
    each, more = divmod(levels - 1, len(sizes))
    return [each + (number < more) for number in range(len(sizes))]


def levels_of(asked: int | None, sizes: Sequence[pyramid.Level], config: ModelConfig) -> int:
    """How many levels there are, with the vector.

    Args:
        asked: how many were asked for; None is as many as usual, or as there must be.
        sizes: resolutions of the features, the coarsest first.
        config: of the model.

    Raises:
        DistvaeError: they do not fit the resolutions of the images.
    """
    least = max(FEWEST, 1 + len(sizes))
    levels = max(USUAL, least) if asked is None else asked
    if asked is not None and config.likelihood == "categorical":
        raise DistvaeError(
            f"--levels {asked} is told to --latents ladder and to --likelihood categorical",
            "one counts levels of latents, the other grey levels",
            "Leave it out, or take another likelihood.",
        )
    if not FEWEST <= levels <= MOST:
        raise DistvaeError(
            f"--levels {levels} does not fit --latents ladder",
            f"expected from {least} to {MOST}",
        )
    if levels < least:
        told = ", ".join(" x ".join(map(str, size.sides)) for size in sizes)
        raise DistvaeError(
            f"--levels {levels} does not fit these images",
            f"--network {config.network} takes them through {len(sizes)} resolutions ({told}), "
            "each of which has a level, below a vector",
            f"Take --levels from {least} to {MOST}, or an --image-size of at most "
            f"{pyramid.largest_side(levels - 1)}.",
        )
    if spread(levels, sizes)[0] > math.prod(sizes[0].sides):
        raise DistvaeError(
            f"--levels {levels} does not fit these images",
            f"they are {' x '.join(map(str, sizes[0].sides))} places where --network "
            f"{config.network} takes them, fewer than levels",
            f"Take images of at least {pyramid.smallest_side(levels - 1)} pixels a side, or "
            "--latents gaussian.",
        )
    return levels


def size_of(shape: tuple[int, ...], config: ModelConfig) -> pyramid.Level:
    """The resolution of features without the batch.

    Raises:
        DistvaeError: they are no maps.
    """
    if len(shape) != 3:
        raise DistvaeError(
            f"--network {config.network} gives no maps",
            "the levels of --latents ladder take some",
            "Take --network conv or resnet.",
        )
    return pyramid.Level(shape[0], shape[1:])
