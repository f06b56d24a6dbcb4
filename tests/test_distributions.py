"""The diagonal Gaussian against torch.distributions."""

# torch leaves functions untyped
# mypy: disable-error-code="no-untyped-call"

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from distvae.distributions import DiagonalGaussian, log_normal


@pytest.fixture
def posterior() -> DiagonalGaussian:
    generator = torch.Generator().manual_seed(0)
    mean = torch.randn(50, 4, generator=generator, dtype=torch.float64) * 3
    log_variance = torch.randn(50, 4, generator=generator, dtype=torch.float64) * 4
    return DiagonalGaussian(mean, log_variance)


def as_normal(posterior: DiagonalGaussian) -> Normal:
    return Normal(posterior.mean, (0.5 * posterior.log_variance).exp())


def test_log_prob_is_that_of_a_normal(posterior: DiagonalGaussian) -> None:
    z = torch.linspace(-5, 5, 200, dtype=torch.float64).reshape(50, 4)
    torch.testing.assert_close(posterior.log_prob(z), as_normal(posterior).log_prob(z).sum(1))


@pytest.mark.parametrize(("mean", "log_variance"), [(0.0, 0.0), (-2.0, 3.0), (1.0, -4.0)])
def test_log_normal_takes_plain_numbers(mean: float, log_variance: float) -> None:
    x = torch.linspace(-3, 3, 7)
    expected = Normal(mean, torch.tensor(0.5 * log_variance).exp()).log_prob(x)
    torch.testing.assert_close(log_normal(x, mean, log_variance), expected)


def test_kl_to_standard_normal(posterior: DiagonalGaussian) -> None:
    expected = kl_divergence(as_normal(posterior), Normal(0.0, 1.0))
    torch.testing.assert_close(posterior.kl_to_standard_normal(), expected)
    zero = DiagonalGaussian(torch.zeros(2, 3), torch.zeros(2, 3)).kl_to_standard_normal()
    assert zero.tolist() == [[0.0] * 3] * 2


def test_a_sample_is_the_quantile_that_its_noise_is(posterior: DiagonalGaussian) -> None:
    noise = torch.linspace(-3, 3, 200, dtype=torch.float64).reshape(50, 4)
    expected = as_normal(posterior).icdf(Normal(0.0, 1.0).cdf(noise))
    torch.testing.assert_close(posterior.sample(noise), expected)


def test_gradients_pass_through_a_sample() -> None:
    mean, log_variance = torch.zeros(1, 1, requires_grad=True), torch.zeros(1, 1)
    log_variance.requires_grad_()
    DiagonalGaussian(mean, log_variance).sample(torch.tensor([[3.0]])).sum().backward()
    assert mean.grad is not None
    assert log_variance.grad is not None
    assert mean.grad.item() == 1.0
    assert log_variance.grad.item() == pytest.approx(1.5)  # half of noise times sigma
