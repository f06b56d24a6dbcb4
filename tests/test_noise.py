"""Noise by counter: what a seed means, however it is drawn, and that it is normal."""

import itertools
import math

import numpy as np
import pytest

from distvae.noise import standard_normal


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


def test_noise_is_standard_normal() -> None:
    noise = standard_normal(3, 0, 100_000, 5).astype(np.float64)
    count = len(noise)
    assert (np.abs(noise.mean(0)) < 5 / math.sqrt(count)).all()
    assert (np.abs(noise.var(0) - 1) < 5 * math.sqrt(2 / count)).all()
    assert (np.abs((noise**3).mean(0)) < 5 * math.sqrt(15 / count)).all()
    assert (np.abs((noise**4).mean(0) - 3) < 5 * math.sqrt(96 / count)).all()
    correlation = np.corrcoef(noise.T) - np.eye(5)
    assert (np.abs(correlation) < 5 / math.sqrt(count)).all()
    squares = np.corrcoef((noise**2).T) - np.eye(5)
    assert (np.abs(squares) < 5 / math.sqrt(count)).all()


def test_noise_follows_the_normal_distribution_function() -> None:
    values = np.sort(standard_normal(11, 0, 50_000, 3).ravel().astype(np.float64))
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
