"""What networks for images of any size share: their resolutions, and memory for time.

Legend: B batch, C channels, H height, W width.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor, is_grad_enabled, nn
from torch.utils.checkpoint import checkpoint

from distvae.conditions import Context
from distvae.config import ModelConfig
from distvae.networks.layers import scaled
from distvae.networks.pyramid import BASE_CHANNELS, MOST_CHANNELS, Level
from distvae.parts import Part
from distvae.ranges import refuse_odd_sides

USUAL_FACTOR = 8
USUAL_CHANNELS = 4
"""Of the latents at every place."""


@dataclass(frozen=True)
class AnySizePart(Part):
    """What networks for images of any size share."""

    traits: ClassVar[tuple[str, ...]] = ("any_size",)

    downscale: Literal[2, 4, 8, 16] | None = None
    """How many times smaller than the image the maps are that become latents; left out: 8."""
    gradient_checkpointing: bool = False
    """Compute the maps of each block or resolution again for their gradients instead of keeping
    them: a quarter more time, and memory for larger images. The numbers are the same."""


def downscaled(config: ModelConfig, sides: Sequence[int], factor: int | None) -> list[Level]:
    """Levels from the folded image down to one ``factor`` times smaller than the image.

    Args:
        config: of the model.
        sides: of the images or volumes.
        factor: a power of two; None: 8.

    Raises:
        DistvaeError: the sides of the images are not multiples of it.
    """
    factor = factor or USUAL_FACTOR
    refuse_odd_sides(sides, factor)
    halvings = int(math.log2(factor))
    return [
        Level(
            scaled(min(BASE_CHANNELS * 2**number, MOST_CHANNELS), config.width),
            tuple(side >> (number + 1) for side in sides),
        )
        for number in range(halvings)
    ]


def again(
    checkpointing: bool, stage: nn.Module, features: Tensor, context: Context | None
) -> Tensor:
    """What a stage makes of features ``[B, C, H, W]``.

    Args:
        checkpointing: whether its inner maps are computed again for the gradients, not kept.
        stage: it draws no random numbers.
        features: its input.
        context: of the rows.
    """
    if not checkpointing or not is_grad_enabled():
        out: Tensor = stage(features, context)
        return out
    kept: Tensor = checkpoint(
        stage, features, context, use_reentrant=False, preserve_rng_state=False
    )
    return kept
