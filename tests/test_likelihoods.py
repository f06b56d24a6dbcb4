"""p(x|z) against torch.distributions and against sums in double precision."""

# torch leaves functions untyped
# mypy: disable-error-code="no-untyped-call"

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Bernoulli, Normal

from distvae.config import ModelConfig
from distvae.likelihoods import LIKELIHOODS, DiscretizedLogistic, Gaussian

SHAPE = (3, 4, 5)
LEVELS = torch.arange(256) / 255


def random_images(seed: int, batch: int = 6) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (batch, *SHAPE), generator=generator) / 255


def random_parameters(seed: int, maps: int = 1, batch: int = 6) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, maps * SHAPE[0], *SHAPE[1:], generator=generator)


def test_bernoulli_is_that_of_torch() -> None:
    likelihood = LIKELIHOODS["bernoulli"](ModelConfig())
    images, parameters = random_images(0).round(), random_parameters(1) * 5
    expected = Bernoulli(logits=parameters)
    torch.testing.assert_close(
        likelihood.log_prob(images, parameters), expected.log_prob(images).sum((1, 2, 3))
    )
    torch.testing.assert_close(likelihood.mean(parameters), expected.mean)


def test_bernoulli_of_grey_is_the_cross_entropy() -> None:
    likelihood = LIKELIHOODS["bernoulli"](ModelConfig())
    images, parameters = random_images(0), random_parameters(1)
    white = torch.sigmoid(parameters)
    expected = images * white.log() + (1 - images) * (1 - white).log()
    torch.testing.assert_close(
        likelihood.log_prob(images, parameters), expected.sum((1, 2, 3)), rtol=1e-5, atol=1e-4
    )


@pytest.mark.parametrize("sigma", [0.05, 1.0, None])
def test_gaussian_is_that_of_torch(sigma: float | None) -> None:
    likelihood = Gaussian(ModelConfig(sigma=sigma))
    images, parameters = random_images(0), random_parameters(1)
    scale = 0.1 if sigma is None else sigma
    expected = Normal(parameters, scale).log_prob(images).sum((1, 2, 3))
    torch.testing.assert_close(likelihood.log_prob(images, parameters), expected)
    assert likelihood.quantization == pytest.approx(math.log(256))


def test_a_learned_sigma_ends_at_the_standard_deviation_of_the_residual() -> None:
    likelihood = Gaussian(ModelConfig())
    images, parameters = random_images(0), random_parameters(1) * 0.3 + 0.5
    (log_sigma,) = likelihood.parameters()
    optimizer = torch.optim.LBFGS(likelihood.parameters(), max_iter=50)

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = -likelihood.log_prob(images, parameters).mean() / 60
        value.backward()
        assert log_sigma.grad is not None
        return value

    assert loss().requires_grad
    assert log_sigma.grad is not None
    assert log_sigma.grad.abs().item() > 0
    optimizer.step(loss)
    residual = (images - parameters).square().mean().sqrt()
    torch.testing.assert_close(log_sigma.exp(), residual, rtol=1e-3, atol=0.0)


def test_a_given_sigma_is_not_learned_but_saved() -> None:
    likelihood = Gaussian(ModelConfig(sigma=0.25))
    assert not list(likelihood.parameters())
    assert likelihood.state_dict()["log_sigma"].exp().item() == pytest.approx(0.25)


def logistic_log_mass(location: Tensor, scale: Tensor) -> Tensor:
    """Log mass of every grey level ``[256, N]``, from the cdf in the tail where it is exact."""
    edges = (torch.arange(255, dtype=torch.float64)[:, None] + 0.5) / 255
    z = (edges - location) / scale
    infinity = torch.full_like(z[:1], math.inf)
    z = torch.cat([-infinity, z, infinity])
    below, above = torch.sigmoid(z), torch.sigmoid(-z)
    mass = torch.where(z[:-1] > 0, above[:-1] - above[1:], below[1:] - below[:-1])
    return mass.log()


def every_level(parameters: Tensor) -> Tensor:
    """log_prob of each of the 256 levels ``[256, N]`` of one pixel with parameters ``[N, 2]``."""
    likelihood = DiscretizedLogistic(ModelConfig())
    count = len(parameters)
    images = LEVELS.repeat_interleave(count).view(-1, 1, 1, 1)
    repeated = parameters.repeat(256, 1).view(-1, 2, 1, 1)
    return likelihood.log_prob(images, repeated).view(256, count)


ORDINARY = torch.cat([random_parameters(s).flatten()[:60].view(30, 2) for s in range(4)])
EXTREME = torch.tensor(
    [
        *[(location, 0.0) for location in (-1e6, -1e3, -9.0, -0.5, 0.0, 0.5, 9.0, 1e3, 1e6)],
        *[(0.1234, log_scale) for log_scale in (-1e6, -1e3, -7.0, -5.0, 5.0, 20.0, 1e3, 1e6)],
        *[(place, scale) for place in (-1e4, 1e4, -30.0, 30.0) for scale in (-99.0, 9.0, 99.0)],
    ]
)


@pytest.mark.parametrize("parameters", [ORDINARY, 3 * ORDINARY, EXTREME])
def test_probabilities_of_the_256_levels_sum_to_one(parameters: Tensor) -> None:
    total = every_level(parameters).double().exp().sum(0)
    torch.testing.assert_close(total, torch.ones_like(total), rtol=0.0, atol=1e-4)


def test_each_level_has_the_mass_of_its_bin() -> None:
    # the decoder's two maps: the location around one half, and the log-scale with -2 for zero
    location = ORDINARY[:, 0].double() + 0.5
    scale = (ORDINARY[:, 1].double() - 2.0).exp()
    expected = logistic_log_mass(location, scale)
    seen = expected > -80  # beyond, the differences that are compared with run out of digits
    assert seen.float().mean() > 0.9
    found = every_level(ORDINARY).double()
    torch.testing.assert_close(found[seen], expected[seen], rtol=2e-5, atol=2e-3)


def test_gradients_are_finite_at_extreme_parameters() -> None:
    parameters = EXTREME.clone().requires_grad_()
    found = every_level(parameters)
    assert torch.isfinite(found).all()
    (gradient,) = torch.autograd.grad(found.sum(), parameters)
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("name", list(LIKELIHOODS))
def test_samples_and_means_are_images(name: str) -> None:
    likelihood = LIKELIHOODS[name](ModelConfig())
    parameters = random_parameters(3, likelihood.maps_per_channel) * 4
    images = [
        likelihood.mean(parameters),
        *(likelihood.sample(parameters, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)),
    ]
    for image in images:
        assert image.shape == (6, *SHAPE)
        assert ((image >= 0) & (image <= 1)).all()
    assert torch.equal(images[1], images[2])
    assert not torch.equal(images[1], images[3])


@pytest.mark.parametrize("parameters", [(0.0, -2.0), (-0.2, 0.5), (0.45, -1.0), (0.9, 2.0)])
def test_grey_levels_are_drawn_as_often_as_they_are_probable(
    parameters: tuple[float, float],
) -> None:
    count = 100_000
    maps = torch.tensor(parameters).view(1, 2, 1, 1).expand(1, 2, 1, count)
    generator = torch.Generator().manual_seed(5)
    draws = DiscretizedLogistic(ModelConfig()).sample(maps, generator).flatten()
    levels = (draws * 255).round()
    assert torch.equal(levels / 255, draws)
    probability = every_level(torch.tensor([parameters]))[:, 0].double().exp()
    expected = count * probability
    counts = torch.bincount(levels.long(), minlength=256).double()
    often = expected > 20
    chi_squared = ((counts - expected).square() / expected)[often].sum().item()
    degrees = int(often.sum())
    # a chi-squared variable has the mean n and the variance 2n
    assert chi_squared < degrees + 5 * math.sqrt(2 * degrees)


def test_black_and_white_are_drawn_as_often_as_they_are_probable() -> None:
    likelihood = LIKELIHOODS["bernoulli"](ModelConfig())
    logits = torch.linspace(-3, 3, 7).view(7, 1, 1, 1).expand(7, 1, 100, 200)
    draws = likelihood.sample(logits, torch.Generator().manual_seed(0))
    assert set(draws.unique().tolist()) == {0.0, 1.0}
    probability = likelihood.mean(logits)[:, 0, 0, 0]
    error = (probability * (1 - probability) / 20_000).sqrt()
    assert ((draws.mean((1, 2, 3)) - probability).abs() < 5 * error).all()


def test_gaussian_draws_have_mean_and_sigma() -> None:
    likelihood = Gaussian(ModelConfig(sigma=0.05))
    parameters = torch.full((1, 1, 200, 200), 0.5)
    draws = likelihood.sample(parameters, torch.Generator().manual_seed(0))
    assert draws.mean().item() == pytest.approx(0.5, abs=5 * 0.05 / 200)
    assert draws.std().item() == pytest.approx(0.05, rel=5 / math.sqrt(2 * 40_000))


@pytest.mark.parametrize("name", list(LIKELIHOODS))
def test_parameters_of_an_image_have_it_as_their_mean(name: str) -> None:
    likelihood = LIKELIHOODS[name](ModelConfig())
    image = random_images(7, 1)[0]
    parameters = likelihood.parameters_of(image)
    assert parameters.shape == (likelihood.maps_per_channel * SHAPE[0], *SHAPE[1:])
    torch.testing.assert_close(likelihood.mean(parameters[None])[0], image, rtol=0.0, atol=2e-3)
