"""Images of 8 bits.

Legend: B batch, C channels, H height, W width.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

LEVELS = 256
WHITE = LEVELS - 1


@dataclass(frozen=True)
class Images:
    """Images of one size, and what a model sees of them."""

    shape: tuple[int, int, int]
    """``(C, H, W)``."""
    binarize: str = "none"
    """``none`` shows levels as they are; ``threshold`` white from half up; ``dynamic`` draws each
    pixel white with probability level / 255, anew for each step."""

    @property
    def uniforms_shape(self) -> tuple[int, int, int] | None:
        """Of the random numbers that the input of an image takes, None where it takes none."""
        return self.shape if self.binarize == "dynamic" else None

    def to_input(self, stored: Tensor, uniforms: Tensor | None) -> Tensor:
        """Levels ``[B, C, H, W]`` uint8 as the model's input, float32 in [0, 1].

        Args:
            stored: levels.
            uniforms: uniform int16 ``[B, C, H, W]`` for ``dynamic``. 16 bits decide about a pixel,
                so a probability is met to 1.6e-5, and those of black and white exactly.
        """
        if self.binarize == "none":
            return in_unit_range(stored)
        if self.binarize == "threshold":
            return (stored >= LEVELS // 2).float()
        assert uniforms is not None
        thresholds = stored.float().mul_(65536.0 / WHITE).sub_(32768.0)
        return (uniforms.float() < thresholds).float()

    def to_expected_input(self, stored: Tensor) -> Tensor:
        """The mean of the input, float32 ``[B, C, H, W]``: where it is drawn, the level itself."""
        return in_unit_range(stored) if self.uniforms_shape else self.to_input(stored, None)


def in_unit_range(stored: Tensor) -> Tensor:
    """Levels uint8 as float32 in [0, 1], in the same shape."""
    return torch.div(stored, float(WHITE))
