"""Random order."""

import numpy as np
import pytest

from distvae.draws.order import permutation
from distvae.draws.philox import Stream


@pytest.mark.parametrize("size", [0, 1, 2, 999])
def test_each_row_once(size: int) -> None:
    order = permutation(size, 3, Stream.ORDER, 5)
    assert order.dtype == np.int64
    assert sorted(order.tolist()) == list(range(size))


def test_order_ranks_the_words_of_a_plain_generator() -> None:
    seed, step, part = 7, 4, 2
    key = np.array([seed, Stream.BUFFER], np.uint64)
    counter = np.array([0, step, part, 0], np.uint64)
    words = np.random.Philox(key=key, counter=counter).random_raw(100).tolist()
    found = permutation(100, seed, Stream.BUFFER, step, part).tolist()
    assert found == sorted(range(100), key=words.__getitem__)


def test_held_out_rows_are_the_same_for_ever() -> None:
    # Written down once: other rows would change which images every held-out split has.
    assert permutation(10, 0, Stream.HELD_OUT).tolist() == [7, 9, 8, 5, 0, 2, 4, 3, 6, 1]
    assert permutation(10, 3, Stream.VALIDATION).tolist() == [7, 6, 1, 8, 5, 0, 2, 9, 4, 3]


def test_orders_differ() -> None:
    found = {
        tuple(permutation(30, seed, stream, step, part).tolist())
        for seed in range(3)
        for stream in (Stream.ORDER, Stream.BUFFER)
        for step in range(3)
        for part in range(3)
    }
    assert len(found) == 3 * 2 * 3 * 3
