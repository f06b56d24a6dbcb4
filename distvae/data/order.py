"""The one source of random order: permutations that are pure functions of their seed."""

import numpy as np
from numpy.typing import NDArray

HELD_OUT, VALIDATION = 2**64 - 1, 2**64 - 2
"""The streams that pick rows held out for test and validation; epochs are the streams from 0 up."""


def permutation(size: int, seed: int, stream: int) -> NDArray[np.int64]:
    """A permutation of ``range(size)``, int64 [size], the same for ever on every platform.

    It ranks raw Philox words, which numpy keeps stable across versions; the algorithm behind
    ``Generator.permutation`` is not.
    """
    key = np.array([seed % 2**64, stream % 2**64], dtype=np.uint64)
    words = np.random.Philox(key=key).random_raw(size)
    return np.argsort(words, kind="stable").astype(np.int64, copy=False)
