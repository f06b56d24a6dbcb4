"""Normal random numbers of random words, by the transform of Box and Muller (1958). No torch."""

import numpy as np
from numpy.typing import NDArray

from distvae.draws.philox import WORDS, Words

STEP = 2.0**-53  # of a word's 64 bits a float64 holds 53
HALF_STEP = 2.0**-32
TURN = 2.0 * np.pi * HALF_STEP
CHUNK = 4096
"""Words that are transformed at a time, so that all of it stays in the cache."""


def standard_normal(seed: int, start: int, count: int, dim: int) -> NDArray[np.float32]:
    """Noise vectors ``start`` to ``start + count`` of a seed of samples, computed in float64.

    Image ``i`` needs no image before it, so batch size, order and number of processes cannot change
    what a seed means.

    Args:
        seed: 0 or more, less than 2^128.
        start: number of the first vector.
        count: how many vectors.
        dim: length of a vector.

    Returns:
        float32 ``[count, dim]``, independent N(0, 1). Two words make two numbers.
    """
    counts = -(-dim // WORDS)
    stream = np.random.Philox(key=seed, counter=start * counts)
    words = stream.random_raw(count * counts * WORDS)
    uniform = ((words >> np.uint64(11)) * STEP).reshape(count, counts * 2, 2)  # in [0, 1)
    radius = np.sqrt(-2.0 * np.log(uniform[..., 0] + STEP))
    angle = 2.0 * np.pi * uniform[..., 1]
    pairs = np.empty(uniform.shape, np.float32)
    np.multiply(radius, np.cos(angle), out=pairs[..., 0], casting="same_kind")
    np.multiply(radius, np.sin(angle), out=pairs[..., 1], casting="same_kind")
    return np.ascontiguousarray(pairs.reshape(count, counts * WORDS)[:, :dim])


def quick_normals(words: Words) -> NDArray[np.float32]:
    """Independent N(0, 1) for a step, float32 ``[2 N]`` of words ``[N]``, computed in float32.

    Word w gives the numbers 2 w and 2 w + 1, r cos a and r sin a: of its lower half u, r is
    sqrt(-2 log((u + 1/2) / 2^32)), and of its upper half v, a is 2 pi v / 2^32. Nothing is farther
    out than 6.8.
    """
    pairs = np.empty((len(words), 2), np.float32)
    for start in range(0, len(words), CHUNK):
        halves = words[start : start + CHUNK].astype("<u8", copy=False).view("<u4")
        uniform = halves.astype(np.float32).reshape(-1, 2)
        radius = (uniform[:, 0] + np.float32(0.5)) * np.float32(HALF_STEP)
        np.log(radius, out=radius)
        radius *= np.float32(-2.0)
        np.sqrt(radius, out=radius)
        angle = uniform[:, 1] * np.float32(TURN)
        found = pairs[start : start + CHUNK]
        np.multiply(radius, np.cos(angle), out=found[:, 0])
        np.multiply(radius, np.sin(angle), out=found[:, 1])
    return pairs.reshape(-1)
