"""What a model sees of examples, and what a sample of them is."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from distvae.config import ModelConfig
from distvae.domains import Images, Vectors
from distvae.errors import DistvaeError
from distvae.fields import Field
from distvae.likelihoods import LIKELIHOODS

NAMES = ("a", "b", "c")


def vectors(count: int = 10_000, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    values = random.normal((0.0, 1e4, -3.0), (1.0, 1e-1, 50.0), (count, 3))
    return values.astype(np.float32)


def test_columns_are_standardized() -> None:
    values = vectors()
    domain = Vectors.of(NAMES, values)
    exact = values.astype(np.float64)
    np.testing.assert_allclose(domain.mean, exact.mean(0), rtol=1e-12)
    np.testing.assert_allclose(domain.deviation, exact.std(0), rtol=1e-9)
    inputs = domain.to_input(torch.from_numpy(values), None)
    assert inputs.dtype == torch.float32
    expected = (exact - exact.mean(0)) / exact.std(0)
    np.testing.assert_allclose(inputs.numpy(), expected, atol=1e-6)
    assert torch.equal(domain.to_expected_input(torch.from_numpy(values)), inputs)
    assert torch.equal(domain.cut(inputs), inputs)
    assert (domain.shape, domain.levels) == ((3,), None)
    assert domain.fields == (Field("values", (3,), "float32"),)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-1e6, 1e6, width=32, allow_subnormal=False), min_size=2, max_size=20))
def test_what_is_stored_comes_back(column: list[float]) -> None:
    values = np.array(column, np.float32)[:, None]
    domain = Vectors.of(("x",), values)
    back = domain.to_stored(domain.to_input(torch.from_numpy(values), None))
    scale = max(1.0, float(np.abs(values).max()))
    np.testing.assert_allclose(back.numpy(), values, atol=1e-6 * scale)


@pytest.mark.parametrize("value", [0.0, 0.1, 1e30, -7.3e-20])
def test_a_column_that_never_changes_is_shown_as_zero(value: float) -> None:
    values = np.full((5000, 1), value, np.float32)
    domain = Vectors.of(("x",), values)
    inputs = domain.to_input(torch.from_numpy(values), None)
    assert domain.deviation == (1.0,)
    np.testing.assert_allclose(inputs.numpy(), 0.0, atol=1e-6 * max(1.0, abs(value)))


def test_a_density_of_real_numbers_is_not_made_one_of_levels() -> None:
    values = vectors(50)
    domain = Vectors.of(NAMES, values)
    likelihood = LIKELIHOODS["gaussian"](ModelConfig(sigma=0.5), domain)
    assert likelihood.quantization == 0.0
    inputs = domain.to_input(torch.from_numpy(values), None)
    normal = torch.distributions.Normal(torch.zeros(3), 0.5)
    expected = normal.log_prob(inputs).sum(1)  # type: ignore[no-untyped-call]
    torch.testing.assert_close(likelihood.log_prob(inputs, torch.zeros(50, 3)), expected)
    with pytest.raises(DistvaeError, match=r"vectors of 3 columns.*gaussian"):
        LIKELIHOODS["categorical"](ModelConfig(), domain)


def test_images_are_stored_as_levels() -> None:
    assert Images((3, 4, 5)).fields == (Field("images", (3, 4, 5), "uint8"),)
