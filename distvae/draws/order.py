"""Random order: permutations that are pure functions of what they are for. No torch."""

import numpy as np
from numpy.typing import NDArray

from distvae.draws.philox import Source, Stream


def permutation(
    size: int, seed: int, stream: Stream, step: int = 0, part: int = 0
) -> NDArray[np.int64]:
    """A permutation of ``range(size)``, int64 ``[size]``, the same for ever on every platform.

    It ranks random words; the algorithm behind numpy's own permutations may change.
    """
    words = Source(seed, stream).words(size, step, part)
    return np.argsort(words, kind="stable").astype(np.int64, copy=False)
