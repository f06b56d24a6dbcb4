"""The bound against models whose exact marginal likelihood is known, and against sums by hand."""

# torch leaves functions untyped
# mypy: disable-error-code="no-untyped-call"

import dataclasses
import math
from typing import Literal

import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from distvae.config import ModelConfig, ObjectiveConfig
from distvae.distributions import DiagonalGaussian, log_normal
from distvae.models import Terms
from distvae.objectives import elbo
from distvae.priors import NormalPrior

SUM = ObjectiveConfig(objective="elbo", free_bits=0.0, reduction="sum")
SIGMA = 0.7
PIXELS, LATENTS = 5, 2
DRAWS = 100_000
# orthogonal columns, so that the exact posterior is a diagonal Gaussian
WEIGHT = torch.tensor([[1.0, 2.0], [2.0, -1.0], [0.0, 0.5], [0.0, 0.0], [-1.0, 0.0]]).double()
WEIGHT[2, 1] = 0.0
OFFSET = torch.tensor([0.1, -0.4, 0.3, 1.0, 0.0]).double()
IMAGE = torch.tensor([0.3, -1.0, 2.0, 0.5, 0.9]).double()


def exact_posterior() -> DiagonalGaussian:
    precision = torch.eye(LATENTS) + WEIGHT.T @ WEIGHT / SIGMA**2
    assert torch.equal(precision, torch.diag(precision.diagonal()))
    mean = torch.linalg.solve(precision, WEIGHT.T @ (IMAGE - OFFSET)) / SIGMA**2
    return DiagonalGaussian(mean[None], -precision.diagonal().log()[None])


def log_marginal() -> float:
    covariance = WEIGHT @ WEIGHT.T + SIGMA**2 * torch.eye(PIXELS)
    return float(MultivariateNormal(OFFSET, covariance).log_prob(IMAGE))


def bound(posterior: DiagonalGaussian) -> tuple[float, float]:
    """The bound of the linear Gaussian model for ``IMAGE``, and its standard error."""
    posterior = DiagonalGaussian(*(part.expand(DRAWS, LATENTS) for part in posterior))
    noise = torch.randn(DRAWS, LATENTS, generator=torch.Generator().manual_seed(0)).double()
    z = posterior.sample(noise)
    log_variance = torch.tensor(2 * math.log(SIGMA)).double()
    log_likelihood = log_normal(IMAGE.expand(DRAWS, -1), z @ WEIGHT.T + OFFSET, log_variance).sum(1)
    rate = NormalPrior(ModelConfig(), 0).rate(posterior, z, None)
    loss = elbo(Terms(posterior, log_likelihood, rate), 1.0, SUM, PIXELS)
    assert torch.allclose(loss.loss, (loss.distortion + loss.rate).mean())
    return -loss.loss.item(), (loss.distortion.std() / math.sqrt(DRAWS)).item()


def test_the_bound_is_the_likelihood_for_the_exact_posterior() -> None:
    value, error = bound(exact_posterior())
    assert value == pytest.approx(log_marginal(), abs=5 * error)
    assert error < 0.01


@pytest.mark.parametrize(("shift", "stretch"), [(0.3, 0.0), (0.0, 0.5), (0.0, -1.0), (-0.5, 1.0)])
def test_the_bound_falls_short_by_the_divergence_to_the_exact_posterior(
    shift: float, stretch: float
) -> None:
    mean, log_variance = exact_posterior()
    other = DiagonalGaussian(mean + shift, log_variance + stretch)
    value, error = bound(other)
    assert value < log_marginal()
    one = 0.5 * (math.exp(stretch) + shift**2 / log_variance.exp() - 1 - stretch)
    assert log_marginal() - value == pytest.approx(one.sum().item(), abs=5 * error)


def make_terms() -> Terms:
    zeros = torch.zeros(2, 3)
    return Terms(
        DiagonalGaussian(zeros, zeros),
        torch.tensor([-10.0, -20.0]),
        torch.tensor([[1.0, 0.0, 4.0], [2.0, 0.5, 6.0]]),
    )


@pytest.mark.parametrize("weight", [0.0, 0.5, 1.0, 4.0])
def test_the_kl_weight_multiplies_the_rate(weight: float) -> None:
    # distortions 10 and 20, rates 5 and 8.5
    for kl_weight in (weight, torch.tensor(weight)):
        found = elbo(make_terms(), kl_weight, SUM, 784)
        assert found.loss.item() == pytest.approx(15.0 + weight * 6.75)
        assert found.distortion.tolist() == [10.0, 20.0]
        assert found.rate.tolist() == [5.0, 8.5]


@pytest.mark.parametrize(
    ("free_bits", "pressed"),
    # the mean KL of the three dimensions is 1.5, 0.25 and 5
    [(0.0, 6.75), (0.2, 6.75), (1.0, 7.5), (2.0, 9.0), (6.0, 18.0)],
)
def test_free_bits_by_hand(free_bits: float, pressed: float) -> None:
    found = elbo(make_terms(), 2.0, dataclasses.replace(SUM, free_bits=free_bits), 784)
    assert found.loss.item() == pytest.approx(15.0 + 2.0 * pressed)
    assert found.rate.tolist() == [5.0, 8.5]


def test_a_dimension_below_its_free_bits_is_not_pressed() -> None:
    terms = make_terms()
    rate = terms.rate.clone().requires_grad_()
    loss = elbo(terms._replace(rate=rate), 1.0, dataclasses.replace(SUM, free_bits=1.0), 1).loss
    loss.backward()
    assert rate.grad is not None
    assert rate.grad.tolist() == [[0.5, 0.0, 0.5], [0.5, 0.0, 0.5]]


def test_the_mean_over_pixels_is_the_sum_with_a_larger_kl_weight() -> None:
    def value(weight: float, reduction: Literal["sum", "mean"], dims: int) -> Tensor:
        config = dataclasses.replace(SUM, reduction=reduction)
        return elbo(make_terms(), weight, config, dims).loss

    assert value(1.0, "mean", 784).item() == pytest.approx(15.0 / 784 + 6.75)
    for dims in (1, 3, 784):
        torch.testing.assert_close(
            dims * value(0.5, "mean", dims), value(0.5 * dims, "sum", dims), rtol=1e-5, atol=1e-5
        )
