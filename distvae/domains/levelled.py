"""What examples of even levels share: a model sees them as numbers from 0 to 1.

Legend: B batch, N examples, S the axes of an example.
"""

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from distvae.domains.base import Domain, is_traced, sum_of
from distvae.domains.levels import in_unit_range, kind_of_levels, noise_of_levels, to_levels
from distvae.errors import DistvaeError

if TYPE_CHECKING:
    from torch import Tensor

ROUNDING = 1e-4
"""By which a number may lie outside [0, 1]: whoever resizes an image rounds."""


class Levelled(Domain):
    """Examples whose numbers are even levels."""

    levels: int

    @property
    def dtype(self) -> str:  # type: ignore[override]
        """Of 8 bits where levels fit into them, else of 16."""
        return kind_of_levels(self.levels)

    def to_values(self, stored: "Tensor") -> "Tensor":
        """Levels as float32 in [0, 1], in the same shape."""
        return in_unit_range(stored, self.levels)

    def to_stored(self, values: "Tensor") -> "Tensor":
        """Values in [0, 1] as levels, rounded, in the same shape."""
        return to_levels(values, self.levels)

    def mean_values(self, parts: "Iterable[Tensor]", count: int) -> "Tensor":
        """The mean example ``[*S]`` in [0, 1]; levels are summed up exactly."""
        mean = sum_of(part.double().sum(0) for part in parts).div(count)
        return self.to_values(mean).float()

    def cut(self, values: "Tensor") -> "Tensor":
        """Values cut to [0, 1]."""
        return values.clamp(0.0, 1.0)

    @property
    def scale(self) -> NDArray[np.float64]:
        """One level."""
        return np.ones(self.shape)

    def slack(
        self, values: NDArray[np.float32], stored: NDArray[Any], tolerance: float
    ) -> NDArray[np.float64]:
        """A level, as a value may lie next to the border between two, or what the tolerance is."""
        return np.full(stored.shape, max(1.0, math.ceil(tolerance * (self.levels - 1))))

    def made_up(self, seed: int, count: int) -> NDArray[Any]:
        """Even noise."""
        return noise_of_levels(seed, (count, *self.shape), self.levels)

    def refuse_out_of_range(self, inputs: "Tensor") -> None:
        """Inputs lie in [0, 1], up to rounding; what is traced is not looked at.

        Raises:
            DistvaeError: they do not, or one is NaN.
        """
        if is_traced() or not inputs.numel():
            return
        low, high = (float(end) for end in inputs.detach().aminmax())
        if not (low >= -ROUNDING and high <= 1.0 + ROUNDING):  # nor is NaN
            raise DistvaeError(
                f"{self.examples} are between {low:.5g} and {high:.5g}",
                "expected values between 0 and 1, none of them NaN",
                self.way_into_range(low, high),
            )

    def way_into_range(self, low: float, high: float) -> str:
        """What to do with inputs whose ends these are; empty where that is not plain."""
        return ""
