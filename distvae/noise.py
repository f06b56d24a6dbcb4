"""Gaussian noise by counter: image ``i`` of seed ``s`` is the same wherever it is drawn.

The raw words are numpy's Philox stream (Salmon et al. 2011, "Parallel random numbers: as easy as
1, 2, 3"), which numpy keeps unchanged between versions; the normals are made from them here by
the Box-Muller transform. No image needs the images before it, so batch size, order and number of
processes cannot change what a seed means. Needs numpy only.
"""

import numpy as np
from numpy.typing import NDArray

_WORDS_PER_COUNT = 4  # Philox4x64 turns one counter into four 64-bit words
_STEP = 2.0**-53  # of a word's 64 bits a float64 holds 53


def standard_normal(seed: int, start: int, count: int, dim: int) -> NDArray[np.float32]:
    """Noise vectors ``start`` to ``start + count`` of a seed.

    Args:
        seed: 0 or more.
        start: number of the first vector.
        count: how many vectors.
        dim: length of a vector.

    Returns:
        float32 ``[count, dim]``, independent N(0, 1).
    """
    counts = -(-dim // _WORDS_PER_COUNT)
    stream = np.random.Philox(key=seed, counter=start * counts)
    words = stream.random_raw(count * counts * _WORDS_PER_COUNT)
    uniform = ((words >> np.uint64(11)) * _STEP).reshape(count, counts * 2, 2)  # in [0, 1)
    radius = np.sqrt(-2.0 * np.log(uniform[..., 0] + _STEP))
    angle = 2.0 * np.pi * uniform[..., 1]
    pairs = np.empty(uniform.shape, np.float32)
    np.multiply(radius, np.cos(angle), out=pairs[..., 0], casting="same_kind")
    np.multiply(radius, np.sin(angle), out=pairs[..., 1], casting="same_kind")
    return np.ascontiguousarray(pairs.reshape(count, counts * _WORDS_PER_COUNT)[:, :dim])
