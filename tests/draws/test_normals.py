"""Normal numbers of random words: what a seed means, and that they are normal."""

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from distvae.draws import tensors
from distvae.draws.normals import CHUNK, normals_of_step, quick_normals, standard_normal
from distvae.draws.philox import Source, Stream


@pytest.mark.parametrize("dim", [1, 2, 3, 4, 5, 16, 33])
def test_noise_does_not_depend_on_batching(dim: int) -> None:
    whole = standard_normal(7, 0, 60, dim)
    assert whole.shape == (60, dim)
    assert whole.dtype == np.float32
    for cuts in ([0, 60], [0, 1, 2, 60], [0, 13, 37, 59, 60], list(range(61))):
        parts = [standard_normal(7, a, b - a, dim) for a, b in itertools.pairwise(cuts)]
        assert np.concatenate(parts).tobytes() == whole.tobytes()
    assert standard_normal(7, 5, 0, dim).shape == (0, dim)


def test_far_vectors_are_reached_without_the_ones_before() -> None:
    far = 10**15
    assert (
        standard_normal(0, far, 4, 6)[2:].tobytes() == standard_normal(0, far + 2, 2, 6).tobytes()
    )


def quick(seed: int, count: int, dim: int) -> NDArray[np.float32]:
    words = np.random.Philox(key=seed).random_raw(count * dim // 2)
    return quick_normals(words).reshape(count, dim)


def exact(seed: int, count: int, dim: int) -> NDArray[np.float32]:
    return standard_normal(seed, 0, count, dim)


Drawn = Callable[[int, int, int], NDArray[np.float32]]
both = pytest.mark.parametrize("drawn", [exact, quick])


@both
def test_noise_is_standard_normal(drawn: Drawn) -> None:
    noise = drawn(3, 100_000, 5).astype(np.float64)
    count = len(noise)
    assert (np.abs(noise.mean(0)) < 5 / math.sqrt(count)).all()
    assert (np.abs(noise.var(0) - 1) < 5 * math.sqrt(2 / count)).all()
    assert (np.abs((noise**3).mean(0)) < 5 * math.sqrt(15 / count)).all()
    assert (np.abs((noise**4).mean(0) - 3) < 5 * math.sqrt(96 / count)).all()
    correlation = np.corrcoef(noise.T) - np.eye(5)
    assert (np.abs(correlation) < 5 / math.sqrt(count)).all()
    squares = np.corrcoef((noise**2).T) - np.eye(5)
    assert (np.abs(squares) < 5 / math.sqrt(count)).all()


@both
def test_noise_follows_the_normal_distribution_function(drawn: Drawn) -> None:
    values = np.sort(drawn(11, 50_000, 3).ravel().astype(np.float64))
    expected = np.array([0.5 * math.erfc(-value / math.sqrt(2)) for value in values])
    ranks = np.arange(len(values) + 1) / len(values)
    distance = max(np.abs(expected - ranks[1:]).max(), np.abs(expected - ranks[:-1]).max())
    # Kolmogorov: exceeded once in 15 million samples
    assert distance * math.sqrt(len(values)) < 2.93


def test_seeds_and_vectors_are_unrelated() -> None:
    dim = 20_000
    vectors = np.concatenate(
        [standard_normal(seed, 0, 3, dim) for seed in (0, 1, 2, 2**32, 2**64, 2**127)]
    )
    correlation = np.corrcoef(vectors) - np.eye(len(vectors))
    assert np.abs(correlation).max() < 5 / math.sqrt(dim)


def test_a_seed_means_the_same_for_ever() -> None:
    # Written down once: other values would change what every published seed draws.
    expected = [[0.15853384, 2.9828794, -1.925692], [-0.20250328, 1.1557642, 0.33020452]]
    np.testing.assert_allclose(standard_normal(0, 0, 2, 3), expected, rtol=1e-6)
    np.testing.assert_allclose(
        standard_normal(12345, 1_000_000, 1, 5),
        [[-0.8117483, -2.0555017, -0.44200498, -2.3238854, -1.4382693]],
        rtol=1e-6,
    )


def test_the_normals_are_box_muller_of_philox_words() -> None:
    seed, number, dim = 99, 17, 6
    words = np.random.Philox(key=seed, counter=2 * number).random_raw(8).tolist()
    expected = []
    for first, second in zip(words[::2], words[1::2], strict=True):
        radius = math.sqrt(-2 * math.log(((first >> 11) + 1) / 2**53))
        angle = 2 * math.pi * (second >> 11) / 2**53
        expected += [radius * math.cos(angle), radius * math.sin(angle)]
    np.testing.assert_allclose(standard_normal(seed, number, 1, dim)[0], expected[:dim], rtol=1e-6)


def as_tensor(words: NDArray[np.uint64]) -> torch.Tensor:
    return torch.from_numpy(words.view(np.int64))


def test_quick_normals_are_box_muller_of_the_halves_of_a_word() -> None:
    words = np.random.Philox(key=4).random_raw(500)
    expected = []
    for word in words.tolist():
        radius = math.sqrt(-2 * math.log(((word & 0xFFFFFFFF) + 0.5) / 2**32))
        angle = 2 * math.pi * (word >> 32) / 2**32
        expected += [radius * math.cos(angle), radius * math.sin(angle)]
    found = quick_normals(words)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=0, atol=3e-6)
    torch_found = tensors.quick_normals(as_tensor(words))
    np.testing.assert_allclose(torch_found.numpy(), expected, rtol=0, atol=3e-6)


def test_quick_normals_of_torch_are_those_of_numpy() -> None:
    words = np.random.Philox(key=8).random_raw(300_000)
    found = tensors.quick_normals(as_tensor(words)).numpy()
    np.testing.assert_allclose(found, quick_normals(words), rtol=1e-6, atol=1e-6)


def test_the_ends_of_the_words_are_finite() -> None:
    halves = np.array([0, 1, 2, 2**24 - 1, 2**31, 2**32 - 1], np.uint64)
    words = (halves[:, None] << np.uint64(32) | halves).ravel()
    found = quick_normals(words).reshape(-1, 2)
    radius = np.hypot(found[:, 0], found[:, 1]).reshape(6, 6)
    assert np.isfinite(found).all()
    assert radius.max() == pytest.approx(math.sqrt(66 * math.log(2)), rel=1e-6)
    assert radius.max() < 6.8
    assert (radius[:, -1] == 0).all(), "the least radius: a uniform that float32 rounds to one"
    other = tensors.quick_normals(as_tensor(words)).numpy().reshape(-1, 2)
    np.testing.assert_allclose(other, found, rtol=1e-6, atol=2e-6)


def test_quick_normals_do_not_depend_on_what_stands_beside_them() -> None:
    words = np.random.Philox(key=9).random_raw(CHUNK + 777)
    whole = quick_normals(words)
    for start in (0, 1, 2, 3, 5, 8, 13, CHUNK - 1, CHUNK + 5):
        for count in (0, 1, 2, 3, 4, 7, 8, 15, 16, 17, 33, 100):
            alone = quick_normals(words[start : start + count])
            assert alone.tobytes() == whole[2 * start : 2 * (start + count)].tobytes()


@pytest.mark.parametrize("first", [0, 1, 6, 4 * CHUNK + 3])
def test_normals_of_a_step_are_those_of_its_words(first: int) -> None:
    place = 2 * CHUNK + 5, 7, 1, first
    expected = quick_normals(Source(3, Stream.TRAINING).words(*place))
    found = normals_of_step(Source(3, Stream.TRAINING), *place)
    assert found.tobytes() == expected.tobytes()
