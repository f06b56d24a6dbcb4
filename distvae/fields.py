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
