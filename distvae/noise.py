"""Gaussian noise by counter: image ``i`` of seed ``s`` is the same wherever it is drawn.

The raw words are numpy's Philox stream (Salmon et al. 2011, "Parallel random numbers: as easy as
1, 2, 3"), which numpy keeps unchanged between versions; the normals are made from them here by
the Box-Muller transform. No image needs the images before it, so batch size, order and number of
processes cannot change what a seed means. Needs numpy only.
"""

import numpy as np
from numpy.typing import NDArray

_WORDS_PER_COUNT = 4  # Philox4x64 turns one counter into four 64-bit words
_RADIANS_PER_STEP = 2.0 * np.pi * 2.0**-53


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
    words = stream.random_raw(count * counts * _WORDS_PER_COUNT).reshape(count, counts * 2, 2)
    radius = np.sqrt(-2.0 * np.log(((words[..., 0] >> np.uint64(11)) + 1) * 2.0**-53))
    angle = (words[..., 1] >> np.uint64(11)) * _RADIANS_PER_STEP
    pairs = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=-1)
    return pairs.reshape(count, counts * _WORDS_PER_COUNT)[:, :dim].astype(np.float32)
