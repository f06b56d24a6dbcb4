"""Random numbers that are asked for one after the other."""

import numpy as np
import pytest

from distvae.draws.normals import quick_normals
from distvae.draws.philox import Source, Stream
from distvae.draws.sequence import Numbers


def test_numbers_follow_the_words_of_their_stream() -> None:
    numbers = Numbers(5, Stream.VOTES, 3)
    words = Source(5, Stream.VOTES).words(19, 3)
    assert numbers.integers(2, 9, (2, 3)).ravel().tolist() == (words[:6] % 7 + 2).tolist()
    assert int(numbers.integers(0, 2**32)) == int(words[6]) % 2**32
    assert numbers.normals((3, 7)).ravel().tolist() == quick_normals(words[7:18])[:21].tolist()
    assert numbers.integers(0, 2**62, (1,)).tolist() == [int(words[18]) % 2**62]


@pytest.mark.parametrize("high", [1, 3, 10, 1000])
def test_integers_are_uniform(high: int) -> None:
    count = 100 * max(high, 100)
    found = Numbers(1, Stream.CLUSTERS).integers(0, high, (count,))
    assert found.dtype == np.int64
    counts = np.bincount(found, minlength=high)
    assert len(counts) == high
    # chi-squared: its mean is high - 1, its variance twice that
    chi_squared = ((counts - count / high) ** 2 / (count / high)).sum()
    assert abs(chi_squared - (high - 1)) <= 5 * np.sqrt(2 * (high - 1))


def test_each_column_has_its_own_width() -> None:
    found = Numbers(2, Stream.VOTES).integers(0, [1, 2, 5], (400, 3))
    assert [np.unique(column).tolist() for column in found.T] == [[0], [0, 1], [0, 1, 2, 3, 4]]


def test_seeds_steps_and_streams_draw_other_numbers() -> None:
    drawn = [
        tuple(Numbers(seed, stream, step).integers(0, 2**40, (3,)).tolist())
        for seed in (0, 1, 2**63 - 1, 2**64 - 1)
        for stream in (Stream.VOTES, Stream.CLUSTERS)
        for step in (0, 1)
    ]
    assert len(set(drawn)) == len(drawn)
