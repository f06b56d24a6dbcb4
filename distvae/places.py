"""Places in a sequence."""

import numpy as np
from numpy.typing import NDArray


def evenly(count: int, most: int) -> NDArray[np.int64]:
    """At most so many of the whole numbers below a count, evenly, the first and last among them."""
    return np.linspace(0, count - 1, min(count, most)).astype(np.int64)


def spaced(count: int, most: int) -> slice:
    """At most so many of a count of rows, one in every so many from the first on."""
    return slice(None, None, max(1, -(-count // most)))
