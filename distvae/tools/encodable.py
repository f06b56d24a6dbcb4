"""Images and whole volumes as `distvae latents` encodes them, one group after the other.

Legend: B examples, Z channels, S the sides of the latents, F pixels of a place of them, A
attributes of the model.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distvae.attribute_values import Values
from distvae.terminal import progress_bar
from distvae.tools.examples import Examples
from distvae.tools.large import Large, Stored
from distvae.tools.maps import Advance
from distvae.tools.tiling import Floats
from distvae.tools.wholes import Padded, Wholes

AFFINE, SIDES = "affine", "sides"
"""Of a volume, beside its latents: from voxels (W, H, D) to millimetres, and D, H, W."""


@dataclass(frozen=True)
class Encodable:
    """Some examples."""

    stored: Stored
    """``[B, C, *F * S]``."""
    given: Values | None
    """What the model is given of each ``[B, A]``."""
    rows: NDArray[np.int64]
    """Their numbers ``[B]``."""
    stop: int
    """The number of the example after them."""
    name: str = ""
    """Of a volume, which takes so long that its tiles are counted."""
    beside: dict[str, NDArray[Any]] = field(default_factory=dict)
    """What is written beside the latents of a volume."""

    def encode(self, large: Large) -> tuple[Floats, Floats]:
        """Mean and log-variance ``[B, Z, *S]``."""
        if not self.name:
            return large.encode(self.stored, self.given)
        sides = [side // large.factor for side in self.stored.shape[2:]]
        count = large.tiles(large.encoding, sides)
        with progress_bar(f"encoding {self.name}", count) as advance:
            return large.encode(self.stored, self.given, advance)


def of_images(
    examples: Examples, large: Large, seed: int, size: int, start: int, advance: Advance
) -> Iterator[Encodable]:
    """Examples from a number on, so many at once."""
    for part in large.maps.parts(examples, seed, size, start, advance):
        yield Encodable(part.stored, part.given, part.rows, part.asked.stop)


def of_volumes(wholes: Wholes, large: Large, start: int) -> Iterator[Encodable]:
    """Volumes from a number on, one by one."""
    for row in range(start, len(wholes)):
        volume = wholes.volume(row)
        beside = {SIDES: np.array(volume.shape[1:])}
        if volume.scan.affine is not None:
            beside[AFFINE] = np.array(volume.scan.affine, np.float64)
        stored, rows = Padded(volume, large.factor), np.array([row])
        yield Encodable(stored, wholes.given(row), rows, row + 1, wholes.name(row), beside)
