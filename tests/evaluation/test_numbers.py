"""Whether generated images carry the number asked for, held against generators that are known."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from distvae.attributes import Attribute
from distvae.data.store import ImageData, Split
from distvae.evaluation.numbers import (
    Readers,
    number_metrics,
    numbers_in,
    trained_readers,
    varies,
)

UNIT = 40.0
"""A number of 40 is a white square."""


def drawn(numbers: Any, seed: int) -> Any:
    """Squares of a brightness that stands for a number, with noise around them."""
    images = np.random.default_rng(seed).uniform(0.0, 0.2, (len(numbers), 1, 8, 8))
    images[:, :, 2:6, 2:6] = np.asarray(numbers)[:, None, None, None] / UNIT
    return images


def split(count: int, seed: int) -> Split:
    """A fifth of the numbers are not known; two attributes, the second of them the number."""
    random = np.random.default_rng(seed)
    numbers = random.uniform(10.0, UNIT, count)
    values = np.stack([random.integers(0, 2, count), numbers], 1).astype(np.float32)
    values[::5, 1] = np.nan
    images = np.rint(255 * drawn(numbers, seed)).astype(np.uint8)
    return dataclasses.replace(Split.of_images(images, None), attributes=values)


class Generator:
    """Draws what it is asked for, or other numbers.

    Args:
        slope: of the number that it draws over that which it is asked for.
        shift: added to it.
    """

    def __init__(self, slope: float = 1.0, shift: float = 0.0) -> None:
        self.slope, self.shift = slope, shift

    def sample(self, labels: Mapping[str, Any], n: int, seed: int) -> Tensor:
        assert n == 1
        assert labels.keys() == {"kind", "size"}
        numbers = self.slope * np.array(labels["size"], float) + self.shift
        return torch.from_numpy(drawn(numbers, 3)).float()


@pytest.fixture(scope="module")
def data() -> ImageData:
    attributes = (Attribute("kind", ("a", "b")), Attribute("size", mean=25.0, scale=9.0))
    return ImageData(
        "squares", "squares", "f", split(400, 1), split(200, 2), "own", (), attributes=attributes
    )


@pytest.fixture(scope="module")
def readers(data: ImageData) -> Readers:
    return trained_readers(data, 1)


def test_what_is_drawn_as_asked_and_what_is_not(data: ImageData, readers: Readers) -> None:
    model: Any = Generator()
    found = dict(number_metrics(model, data, readers, 1))
    assert found["number_test_correlation"] > 0.98
    assert found["number_correlation"] > 0.98
    limit = found["number_test_error"] + 5 * found["number_test_error_standard_error"]
    assert found["number_error"] < limit < 3.0
    _, rows = numbers_in(data.train, 1)
    assert len(rows) == 320
    assert found["number_correlation_standard_error"] < 0.01

    model = Generator(shift=-5.0)
    moved = dict(number_metrics(model, data, readers, 1))
    assert moved["number_error"] == pytest.approx(5.0, abs=2.0)
    assert moved["number_correlation"] > 0.95
    model = Generator(slope=0.0, shift=25.0)
    same = dict(number_metrics(model, data, readers, 1))
    values, rows = numbers_in(data.train, 1)
    assert same["number_error"] == pytest.approx(np.abs(values[rows] - 25.0).mean(), abs=1.0)
    assert abs(same["number_correlation"]) < 0.3


def test_a_number_that_is_the_same_of_all_is_left_out(data: ImageData) -> None:
    assert varies(data, 1)
    values = data.train.attributes
    assert values is not None
    alike = np.where(np.isnan(values), np.nan, np.float32(3.0))
    train = dataclasses.replace(data.train, attributes=alike)
    assert not varies(dataclasses.replace(data, train=train), 1)
