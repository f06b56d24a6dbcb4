"""What is stored of an example. No torch."""

import math
from typing import NamedTuple


class Field(NamedTuple):
    """One array of a split on disk: a row of fixed width for each example."""

    name: str
    """Fit for a file name."""
    shape: tuple[int, ...]
    """Of an example, S."""
    dtype: str
    """Any numeric one of NumPy, such as ``uint8`` or ``float32``."""

    @property
    def bytes(self) -> int:
        """Of an example."""
        import numpy as np  # names of parts and flags do not wait for it

        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


IMAGES = "images"
"""The one field of images, as :class:`distvae.domains.Images` has it."""


VALUES = "values"
"""The one field of vectors, as :class:`distvae.domains.Vectors` has it."""


EXAMPLES = {IMAGES: "images", VALUES: "rows"}
"""What people call examples of such a field."""


def images_field(shape: tuple[int, int, int]) -> Field:
    """Images of 8 bits ``(C, H, W)``."""
    return Field(IMAGES, shape, "uint8")


def values_field(columns: int) -> Field:
    """Vectors of so many real numbers."""
    return Field(VALUES, (columns,), "float32")
