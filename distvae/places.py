"""Places in a sequence."""

import numpy as np
from numpy.typing import NDArray


def evenly(count: int, most: int) -> NDArray[np.int64]:
    """At most so many of the whole numbers below a count, evenly, the first and last among them."""
    return np.linspace(0, count - 1, min(count, most)).astype(np.int64)
