"""p(z) and p(z|y) against torch's multivariate normal."""

# torch leaves functions untyped
# mypy: disable-error-code="no-untyped-call"

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal, kl_divergence

from distvae.config import ModelConfig
from distvae.distributions import DiagonalGaussian
from distvae.priors import PRIORS, LabelPrior, NormalPrior, Prior

LABELS = 4
DIMS = (1, 2, 3, 5, 16)
DRAWS = 200_000


def random_prior(name: str, dim: int) -> Prior:
    """A prior in double precision whose parameters are far from where they begin."""
    torch.manual_seed(dim)
    prior = PRIORS[name](ModelConfig(latent_dim=dim, prior="label"), LABELS).double()
    size = 0.3 / math.sqrt(dim) / getattr(prior, "SPEED", 1.0)
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter.normal_(std=size)
    return prior


@torch.no_grad()
def reference(prior: Prior, label: int) -> MultivariateNormal:
    """The Gaussian that ``transform`` makes of noise, read off its values at the unit vectors."""
    dim = prior.noise_dim
    noise = torch.cat([torch.zeros(1, dim), torch.eye(dim)]).double()
    points = prior.transform(noise, torch.full((dim + 1,), label))
    factor = (points[1:] - points[0]).T
    return MultivariateNormal(points[0], factor @ factor.T)


def random_posterior(dim: int, batch: int, seed: int = 0) -> DiagonalGaussian:
    generator = torch.Generator().manual_seed(seed)
    mean, log_variance = torch.randn(2, batch, dim, generator=generator, dtype=torch.float64)
    return DiagonalGaussian(mean, log_variance)


def all_labels(batch: int) -> Tensor:
    return torch.arange(batch) % LABELS


@pytest.mark.parametrize("name", list(PRIORS))
@pytest.mark.parametrize("dim", DIMS)
def test_rate_is_the_kl_divergence(name: str, dim: int) -> None:
    prior, posterior, labels = random_prior(name, dim), random_posterior(dim, 12), all_labels(12)
    rate = prior.rate(posterior, posterior.mean, labels)
    assert rate.shape == (12, dim)
    expected = torch.stack(
        [
            kl_divergence(
                MultivariateNormal(mean, torch.diag(log_variance.exp())), reference(prior, label)
            )
            for mean, log_variance, label in zip(*posterior, labels.tolist(), strict=True)
        ]
    )
    torch.testing.assert_close(rate.sum(1), expected)


@pytest.mark.parametrize("name", list(PRIORS))
@pytest.mark.parametrize("dim", DIMS)
def test_log_prob_is_the_density(name: str, dim: int) -> None:
    prior, z, labels = random_prior(name, dim), random_posterior(dim, 12).mean, all_labels(12)
    expected = [
        reference(prior, label).log_prob(point)
        for point, label in zip(z, labels.tolist(), strict=True)
    ]
    torch.testing.assert_close(prior.log_prob(z, labels), torch.stack(expected))


@pytest.mark.parametrize("name", list(PRIORS))
@pytest.mark.parametrize("dim", DIMS)
def test_whiten_is_the_inverse_of_transform(name: str, dim: int) -> None:
    prior, labels = random_prior(name, dim), all_labels(50)
    noise = random_posterior(dim, 50).mean
    z = prior.transform(noise, labels)
    torch.testing.assert_close(prior.whiten(z, labels), noise, rtol=1e-9, atol=1e-9)
    again = prior.transform(prior.whiten(noise, labels), labels)
    torch.testing.assert_close(again, noise, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", list(PRIORS))
@pytest.mark.parametrize("dim", [2, 5])
def test_transformed_noise_has_the_mean_and_covariance_of_its_density(name: str, dim: int) -> None:
    prior, label = random_prior(name, dim), 3
    noise = torch.randn(DRAWS, dim, generator=torch.Generator().manual_seed(1)).double()
    z = prior.transform(noise, torch.full((DRAWS,), label))
    # log_prob is a quadratic: its second differences give the precision, its gradient the mean
    origin = torch.zeros(1, dim, dtype=torch.float64)

    def log_prob(point: Tensor) -> Tensor:
        return prior.log_prob(point, torch.tensor([label])).sum()

    slope = torch.autograd.functional.jacobian(log_prob, origin)
    precision = -torch.autograd.functional.hessian(log_prob, origin).reshape(dim, dim)
    covariance = torch.linalg.inv(precision)
    mean = covariance @ slope[0]
    variance = covariance.diagonal()
    assert ((z.mean(0) - mean).abs() < 5 * (variance / DRAWS).sqrt()).all()
    spread = (variance[:, None] * variance + covariance.square()) / DRAWS
    assert ((z.T.cov() - covariance).abs() < 5 * spread.sqrt()).all()


@pytest.mark.parametrize("name", list(PRIORS))
def test_rate_agrees_with_a_monte_carlo_estimate(name: str) -> None:
    dim = 3
    prior, posterior = random_prior(name, dim), random_posterior(dim, 1)
    label = torch.tensor([2])
    repeated = DiagonalGaussian(*(part.expand(DRAWS, dim) for part in posterior))
    noise = torch.randn(DRAWS, dim, generator=torch.Generator().manual_seed(2)).double()
    z = repeated.sample(noise)
    ratio = repeated.log_prob(z).sum(1) - prior.log_prob(z, label.expand(DRAWS))
    rate = prior.rate(posterior, z[:1], label).sum()
    assert (ratio.mean() - rate).abs() < 5 * ratio.std() / math.sqrt(DRAWS)


@pytest.mark.parametrize("name", list(PRIORS))
def test_a_prior_begins_as_the_standard_normal(name: str) -> None:
    prior = PRIORS[name](ModelConfig(latent_dim=6), LABELS)
    noise = torch.randn(8, 6, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(prior.transform(noise, all_labels(8)), noise)
    posterior = DiagonalGaussian(noise, noise.flip(0))
    torch.testing.assert_close(
        prior.rate(posterior, noise, all_labels(8)), posterior.kl_to_standard_normal()
    )


def test_only_the_label_prior_depends_on_the_label() -> None:
    noise = torch.zeros(LABELS, 5, dtype=torch.float64)
    assert len(random_prior("label", 5).transform(noise, all_labels(LABELS)).unique(dim=0)) == 4
    assert torch.equal(random_prior("normal", 5).transform(noise, None), noise)
    assert not list(NormalPrior(ModelConfig(), 3).parameters())


def test_learning_a_label_prior_finds_the_gaussian_of_each_label() -> None:
    generator = torch.Generator().manual_seed(4)
    factor = torch.tensor([[[1.0, 0.0], [0.8, 0.3]], [[0.5, 0.0], [-0.2, 2.0]]])
    mean = torch.tensor([[1.0, -2.0], [0.0, 0.5]])
    labels = torch.arange(4000) % 2
    noise = torch.randn(4000, 2, 1, generator=generator)
    z = mean[labels] + torch.bmm(factor[labels], noise).squeeze(2)
    prior = LabelPrior(ModelConfig(latent_dim=2), 2)
    optimizer = torch.optim.LBFGS(prior.parameters(), max_iter=300, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = -prior.log_prob(z, labels).mean()
        value.backward()
        return value

    optimizer.step(loss)
    for label in (0, 1):
        own = z[labels == label]
        learned = reference(prior.double(), label)
        torch.testing.assert_close(learned.mean, own.mean(0).double(), rtol=0.0, atol=0.01)
        covariance = own.T.cov(correction=0).double()
        torch.testing.assert_close(learned.covariance_matrix, covariance, rtol=0.01, atol=0.01)
        prior.float()
