"""Normal random numbers of random words, by the transform of Box and Muller (1958). No torch."""

import numpy as np
from numpy.typing import NDArray

from distvae.draws.philox import WORDS, Source, Words, words_of_samples

UNUSED = np.uint64(11)
STEP = 2.0**-53  # of a word's 64 bits a float64 holds 53
HALF_STEP = 2.0**-32
WHOLE_TURN = 2.0 * np.pi
TURN = 2.0 * np.pi * HALF_STEP
CHUNK = 8192
"""Words that are drawn and transformed at a time, so that all of it stays in the cache."""


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
    words = words_of_samples(seed, start * counts, count * counts)
    uniform = ((words >> UNUSED) * STEP).reshape(-1, 2)  # in [0, 1)
    radius = uniform[:, 0] + STEP
    np.log(radius, out=radius)
    radius *= -2.0
    np.sqrt(radius, out=radius)
    angle = uniform[:, 1] * WHOLE_TURN
    pairs = np.empty(uniform.shape, np.float32)
    np.multiply(radius, np.cos(angle), out=pairs[:, 0], casting="same_kind")
    np.multiply(radius, np.sin(angle), out=pairs[:, 1], casting="same_kind")
    vectors = pairs.reshape(count, counts * WORDS)
    return vectors if vectors.shape[1] == dim else np.ascontiguousarray(vectors[:, :dim])


def quick_normals(words: Words) -> NDArray[np.float32]:
    """Independent N(0, 1) for a step, float32 ``[2 N]`` of words ``[N]``, computed in float32.

    Word w gives the numbers 2 w and 2 w + 1, r cos a and r sin a: of its lower half u, r is
    sqrt(-2 log((u + 1/2) / 2^32)), and of its upper half v, a is 2 pi v / 2^32. Nothing is farther
    out than 6.8.
    """
    pairs = np.empty((len(words), 2), np.float32)
    _fill(pairs, words)
    return pairs.reshape(-1)


def normals_of_step(
    source: Source, count: int, step: int, part: int, first: int
) -> NDArray[np.float32]:
    """:func:`quick_normals` of the words that :meth:`Source.words` gives, float32 ``[2 count]``."""
    pairs = np.empty((count, 2), np.float32)
    for start in range(0, count, CHUNK):
        chunk = pairs[start : start + CHUNK]
        _fill(chunk, source.words(len(chunk), step, part, first + start))
    return pairs.reshape(-1)


def normals_of_steps(
    source: Source, count: int, steps: range, part: int, first: int
) -> NDArray[np.float32]:
    """:func:`normals_of_step` of several steps, float32 ``[n, 2 count]``.

    For few numbers of each it takes little longer than for one step.
    """
    words = np.concatenate([source.words(count, step, part, first) for step in steps])
    return quick_normals(words).reshape(len(steps), -1)


def _fill(pairs: NDArray[np.float32], words: Words) -> None:
    """The transform of words ``[N]`` into pairs ``[N, 2]``."""
    uniform = words.astype("<u8", copy=False).view("<u4").astype(np.float32).reshape(-1, 2)
    radius = (uniform[:, 0] + np.float32(0.5)) * np.float32(HALF_STEP)
    np.log(radius, out=radius)
    radius *= np.float32(-2.0)
    np.sqrt(radius, out=radius)
    angle = uniform[:, 1] * np.float32(TURN)
    np.multiply(radius, np.cos(angle), out=pairs[:, 0])
    np.multiply(radius, np.sin(angle), out=pairs[:, 1])
