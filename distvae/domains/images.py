"""Images of 8 bits.

Legend: B batch, C channels, H height, W width.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from distvae.domains.base import Domain, refuse_other_types
from distvae.errors import DistvaeError
from distvae.fields import Field, images_field
from distvae.parts import Part

LEVELS = 256
WHITE = LEVELS - 1
ROUNDING = 1e-4
"""By which a pixel may lie outside [0, 1]: whoever resizes an image rounds."""


class ImagesPart(Part):
    """Images of 8 bits."""

    name = "images"
    builds = "Images"
    traits = ("levels", "sides")


@dataclass(frozen=True)
class Images(Domain):
    """Images of one size, and what a model sees of them: float32 in [0, 1]."""

    shape: tuple[int, int, int]
    """``(C, H, W)``."""
    binarize: str = "none"
    """``none`` shows levels as they are; ``threshold`` white from half up; ``dynamic`` draws each
    pixel white with probability level / 255, anew for each step."""
    levels = LEVELS
    memory_format = torch.channels_last

    @property
    def told(self) -> str:
        """``images CxHxW``."""
        return f"images {'x'.join(map(str, self.shape))}"

    def record(self) -> dict[str, Any]:
        """Shape and binarization."""
        return {"image_shape": list(self.shape), "binarize": self.binarize}

    @property
    def fields(self) -> tuple[Field, ...]:
        """Levels, uint8."""
        return (images_field(self.shape),)

    @property
    def uniforms_shape(self) -> tuple[int, int, int] | None:
        """``(C, H, W)`` for ``dynamic``, else None."""
        return self.shape if self.binarize == "dynamic" else None

    def to_input(self, stored: Tensor, uniforms: Tensor | None) -> Tensor:
        """Levels ``[B, C, H, W]`` uint8 as the model's input.

        For ``dynamic`` 16 bits decide about a pixel, so a probability is met to 1.6e-5, and those
        of black and white exactly.
        """
        if self.binarize == "none":
            return in_unit_range(stored)
        if self.binarize == "threshold":
            return (stored >= LEVELS // 2).float()
        assert uniforms is not None
        thresholds = torch.mul(stored, 65536.0 / WHITE).sub_(32768.0)
        return thresholds.gt_(uniforms)  # 1 where a uniform is below

    def to_expected_input(self, stored: Tensor) -> Tensor:
        """The mean of the input ``[B, C, H, W]``: where it is drawn, the level itself."""
        return in_unit_range(stored) if self.uniforms_shape else self.to_input(stored, None)

    def to_values(self, stored: Tensor) -> Tensor:
        """Levels uint8 as float32 in [0, 1], in the same shape."""
        return in_unit_range(stored)

    def to_stored(self, values: Tensor) -> Tensor:
        """Values in [0, 1] as levels, rounded, uint8 in the same shape."""
        return to_levels(values)

    def checked_input(self, inputs: Tensor) -> Tensor:
        """Images ``[B, C, H, W]``, floating point in [0, 1], as they are."""
        refuse_other_types(inputs, "images", "Divide grey levels by 255: images / 255")
        if inputs.dim() != 4 or tuple(inputs.shape[1:]) != self.shape:
            missing = tuple(inputs.shape) == self.shape
            raise DistvaeError(
                f"images have shape {list(inputs.shape)}",
                f"expected [B, {', '.join(map(str, self.shape))}] for this model",
                "Give one image as a batch of one: images.unsqueeze(0)" if missing else "",
            )
        if torch.compiler.is_compiling() or not inputs.numel():
            return inputs
        low, high = (float(end) for end in inputs.detach().aminmax())
        if not (low >= -ROUNDING and high <= 1.0 + ROUNDING):  # nor is NaN
            raise DistvaeError(
                f"images are between {low:.5g} and {high:.5g}",
                "expected values between 0 and 1, none of them NaN",
                _way_into_range(low, high),
            )
        return inputs

    def cut(self, values: Tensor) -> Tensor:
        """Values cut to [0, 1]."""
        return values.clamp(0.0, 1.0)


def to_levels(values: Tensor) -> Tensor:
    """Values in [0, 1] as levels, rounded, uint8 in the same shape."""
    return (values * float(WHITE)).round().to(torch.uint8)


def in_unit_range(stored: Tensor) -> Tensor:
    """Levels uint8 as float32 in [0, 1], in the same shape."""
    return torch.div(stored, float(WHITE))


def _way_into_range(low: float, high: float) -> str:
    if low >= 0.0 and high > 1.5:
        return f"Divide by the largest: images / {255 if high <= 255 else 65535}"
    if low >= -1.0 - ROUNDING and high <= 1.0 + ROUNDING:
        return "From [-1, 1] take (images + 1) / 2"
    return ""
