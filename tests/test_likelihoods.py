"""p(x|z) against torch.distributions and against sums in double precision."""

# torch leaves functions untyped
# mypy: disable-error-code="no-untyped-call"

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Bernoulli, Categorical, Laplace, Normal
from torch.distributions import ContinuousBernoulli as TorchContinuousBernoulli

from distvae.config import ModelConfig
from distvae.domains import Images
from distvae.likelihoods import LIKELIHOODS
from distvae.likelihoods.continuous_bernoulli import ContinuousBernoulli
from distvae.likelihoods.discretized_logistic import DiscretizedLogistic
from distvae.likelihoods.gaussian import Gaussian
from distvae.likelihoods.logistic import expected as logistic_mean

SHAPE = (3, 4, 5)
LEVELS = torch.arange(256) / 255
DOMAIN = Images(SHAPE)


def random_images(seed: int, batch: int = 6) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (batch, *SHAPE), generator=generator) / 255


def random_parameters(seed: int, maps: int = 1, batch: int = 6) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, maps * SHAPE[0], *SHAPE[1:], generator=generator)


class Fine(Images):
    """Images of 16 bits."""

    levels = 2**16


@pytest.mark.parametrize("domain", [DOMAIN, Fine(SHAPE)])
@pytest.mark.parametrize("scale", [-30.0, -3.0, 0.0, 2.0])
def test_the_levels_of_a_domain_have_all_the_probability(domain: Images, scale: float) -> None:
    values = torch.linspace(0.0, 1.0, domain.levels).view(-1, 1, 1, 1)
    likelihood = DiscretizedLogistic(ModelConfig(), domain)
    for place in (-0.6, 0.0, 0.31):
        parameters = torch.tensor([place, scale]).view(1, 2, 1, 1).expand(len(values), -1, 1, 1)
        masses = likelihood.log_prob(values, parameters).double().exp()
        assert masses.sum().item() == pytest.approx(1.0, abs=2e-3)
        mean = (masses * values.flatten().double()).sum().item()
        assert likelihood.mean(parameters[:1]).item() == pytest.approx(mean, abs=2e-3)
    continuous = ContinuousBernoulli(ModelConfig(), domain)
    assert continuous.quantization == pytest.approx(math.log(domain.levels))


def test_bernoulli_is_that_of_torch() -> None:
    likelihood = LIKELIHOODS["bernoulli"](ModelConfig(), DOMAIN)
    images, parameters = random_images(0).round(), random_parameters(1) * 5
    expected = Bernoulli(logits=parameters)
    torch.testing.assert_close(
        likelihood.log_prob(images, parameters), expected.log_prob(images).sum((1, 2, 3))
    )
    torch.testing.assert_close(likelihood.mean(parameters), expected.mean)


def test_bernoulli_of_grey_is_the_cross_entropy() -> None:
    likelihood = LIKELIHOODS["bernoulli"](ModelConfig(), DOMAIN)
    images, parameters = random_images(0), random_parameters(1)
    white = torch.sigmoid(parameters)
    expected = images * white.log() + (1 - images) * (1 - white).log()
    torch.testing.assert_close(
        likelihood.log_prob(images, parameters), expected.sum((1, 2, 3)), rtol=1e-5, atol=1e-4
    )


@pytest.mark.parametrize("sigma", [0.05, 1.0, None])
def test_gaussian_is_that_of_torch(sigma: float | None) -> None:
    likelihood = Gaussian(ModelConfig(sigma=sigma), DOMAIN)
    images, parameters = random_images(0), random_parameters(1)
    scale = 0.1 if sigma is None else sigma
    expected = Normal(parameters, scale).log_prob(images).sum((1, 2, 3))
    torch.testing.assert_close(likelihood.log_prob(images, parameters), expected)
    assert likelihood.quantization == pytest.approx(math.log(256))


def test_a_learned_sigma_ends_at_the_standard_deviation_of_the_residual() -> None:
    likelihood = Gaussian(ModelConfig(), DOMAIN)
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


def test_laplace_is_that_of_torch_and_its_scale_ends_at_the_mean_absolute_error() -> None:
    likelihood = LIKELIHOODS["laplace"](ModelConfig(), DOMAIN)
    images, parameters = random_images(0), random_parameters(1) * 0.3 + 0.5
    (log_scale,) = likelihood.parameters()
    error = (images - parameters).abs()
    for value in (log_scale.item(), error.mean().log().item()):
        torch.nn.init.constant_(log_scale, value)
        expected = Laplace(parameters, math.exp(value)).log_prob(images).sum((1, 2, 3))
        torch.testing.assert_close(likelihood.log_prob(images, parameters), expected)
    likelihood.log_prob(images, parameters).mean().backward()
    assert log_scale.grad is not None
    assert abs(log_scale.grad.item()) < 1e-3 * images[0].numel()
    best = likelihood.log_prob(images, images) - likelihood.log_prob(images, parameters)
    torch.testing.assert_close(likelihood.excess(images, parameters), best)
    torch.nn.init.constant_(log_scale, math.log(0.05))
    middle = torch.full((400, *SHAPE), 0.5)
    drawn = likelihood.sample(middle, torch.Generator().manual_seed(0)) - 0.5
    assert drawn.abs().mean().item() == pytest.approx(0.05, rel=0.03)
    assert drawn.square().mean().item() == pytest.approx(2 * 0.05**2, rel=0.05)


def test_a_given_sigma_is_not_learned_but_saved() -> None:
    likelihood = Gaussian(ModelConfig(sigma=0.25), DOMAIN)
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
    likelihood = DiscretizedLogistic(ModelConfig(), DOMAIN)
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


def test_the_mean_of_a_logistic_is_the_sum_over_its_levels() -> None:
    """Between levels, at both edges, far outside, and from needle to all but uniform."""
    location = torch.cat([torch.linspace(-0.02, 1.02, 521), torch.tensor([-30.0, -1.0, 2.0, 9.0])])
    log_scale = torch.cat([torch.linspace(-7.0, 2.0, 91), torch.tensor([5.0, 18.0])])
    grid = [part.flatten() for part in torch.meshgrid(location, log_scale, indexing="ij")]
    levels = torch.linspace(0.0, 1.0, 256, dtype=torch.float64)
    masses = logistic_log_mass(grid[0].double(), grid[1].double().exp()).exp()
    torch.testing.assert_close(
        logistic_mean(grid[0], grid[1], 256).double(), levels @ masses, rtol=0.0, atol=2e-6
    )


def test_gradients_are_finite_at_extreme_parameters() -> None:
    parameters = EXTREME.clone().requires_grad_()
    found = every_level(parameters)
    assert torch.isfinite(found).all()
    (gradient,) = torch.autograd.grad(found.sum(), parameters)
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("name", list(LIKELIHOODS))
def test_samples_and_means_are_images(name: str) -> None:
    likelihood = LIKELIHOODS[name](ModelConfig(), DOMAIN)
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
    draws = DiscretizedLogistic(ModelConfig(), DOMAIN).sample(maps, generator).flatten()
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
    likelihood = LIKELIHOODS["bernoulli"](ModelConfig(), DOMAIN)
    logits = torch.linspace(-3, 3, 7).view(7, 1, 1, 1).expand(7, 1, 100, 200)
    draws = likelihood.sample(logits, torch.Generator().manual_seed(0))
    assert set(draws.unique().tolist()) == {0.0, 1.0}
    probability = likelihood.mean(logits)[:, 0, 0, 0]
    error = (probability * (1 - probability) / 20_000).sqrt()
    assert ((draws.mean((1, 2, 3)) - probability).abs() < 5 * error).all()


def test_gaussian_draws_have_mean_and_sigma() -> None:
    likelihood = Gaussian(ModelConfig(sigma=0.05), DOMAIN)
    parameters = torch.full((1, 1, 200, 200), 0.5)
    draws = likelihood.sample(parameters, torch.Generator().manual_seed(0))
    assert draws.mean().item() == pytest.approx(0.5, abs=5 * 0.05 / 200)
    assert draws.std().item() == pytest.approx(0.05, rel=5 / math.sqrt(2 * 40_000))


@pytest.mark.parametrize("name", list(LIKELIHOODS))
def test_parameters_of_an_image_have_it_as_their_mean(name: str) -> None:
    likelihood = LIKELIHOODS[name](ModelConfig(), DOMAIN)
    image = random_images(7, 1)[0]
    parameters = likelihood.parameters_of(image)
    assert parameters.shape == (likelihood.maps_per_channel * SHAPE[0], *SHAPE[1:])
    # a decoder does not begin certain of a pixel, which these two would have to be
    held = name in ("continuous_bernoulli", "categorical")
    off = likelihood.mean(parameters[None])[0] - image
    assert off.abs().max() < (0.021 if held else 2e-3)
    assert off[(image > 0.03) & (image < 0.97)].abs().max() < 2e-3


LOGITS = torch.tensor([0.0, 1e-6, 1e-3, 0.1, 0.49, 0.51, 1.0, 3.0, 10.0, 40.0, 300.0, 1e4])
LOGITS = torch.cat([-LOGITS.flip(0), LOGITS])


def continuous(images: Tensor, logits: Tensor) -> Tensor:
    """Log-density by pixel, ``images [N]`` and ``logits [L]`` to ``[N, L]``."""
    shape = len(images), len(logits)
    x = images[:, None].expand(shape).reshape(-1, 1, 1, 1)
    parameters = logits.expand(shape).reshape(-1, 1, 1, 1)
    return ContinuousBernoulli(ModelConfig(), DOMAIN).log_prob(x, parameters).view(shape)


def test_continuous_bernoulli_is_that_of_torch() -> None:
    # torch's own is cut off beyond, and is a series within 0.499 and 0.501
    logits = torch.linspace(-9, 9, 37).double()
    images = torch.linspace(0, 1, 11).double()
    expected = TorchContinuousBernoulli(logits=logits).log_prob(images[:, None])
    torch.testing.assert_close(continuous(images, logits), expected, rtol=1e-6, atol=1e-6)
    mean = ContinuousBernoulli(ModelConfig(), DOMAIN).mean(logits)
    torch.testing.assert_close(
        mean, TorchContinuousBernoulli(logits=logits).mean, rtol=1e-6, atol=1e-6
    )


def test_continuous_bernoulli_integrates_to_one_and_to_its_mean_at_every_logit() -> None:
    # Gauss-Legendre on pieces that shrink towards both ends, where the density may be steep
    ends = torch.logspace(-7, math.log10(0.5), 40).double()
    edges = torch.cat([torch.zeros(1).double(), ends, 1.0 - ends.flip(0)[1:], torch.ones(1)])
    nodes = torch.tensor([-math.sqrt(0.6), 0.0, math.sqrt(0.6)]).double()
    weights = torch.tensor([5.0, 8.0, 5.0]).double() / 18.0
    width = edges.diff()[:, None]
    x = (edges[:-1, None] + width * (0.5 + 0.5 * nodes)).flatten()
    area = (width * weights).flatten()
    density = continuous(x, LOGITS.double()).exp() * area[:, None]
    torch.testing.assert_close(density.sum(0), torch.ones(24).double(), rtol=0.0, atol=1e-4)
    mean = ContinuousBernoulli(ModelConfig(), DOMAIN).mean(LOGITS.double())
    torch.testing.assert_close((density * x[:, None]).sum(0), mean, rtol=0.0, atol=1e-4)


def test_continuous_bernoulli_in_single_precision_is_as_good_near_one_half_as_elsewhere() -> None:
    images = torch.linspace(0, 1, 11)
    ordinary = LOGITS[LOGITS.abs() < 1e3]
    logits = torch.cat([ordinary, torch.linspace(-0.6, 0.6, 121)]).requires_grad_()
    found = continuous(images, logits)
    wide = logits.detach().double().requires_grad_()
    expected = continuous(images.double(), wide)
    torch.testing.assert_close(found.double(), expected, rtol=1e-6, atol=1e-5)
    (gradient,) = torch.autograd.grad(found.sum(), logits)
    (exact,) = torch.autograd.grad(expected.sum(), wide)
    assert torch.isfinite(gradient).all()
    torch.testing.assert_close(gradient.double(), exact, rtol=1e-4, atol=1e-4)
    likelihood = ContinuousBernoulli(ModelConfig(), DOMAIN)
    with torch.no_grad():
        mean = likelihood.mean(logits).double()
        torch.testing.assert_close(mean, likelihood.mean(wide), rtol=0.0, atol=1e-6)
    grown = likelihood.mean(LOGITS).diff()
    assert (grown >= 0).all()


@pytest.mark.parametrize("logit", [-40.0, -3.0, -1e-4, 0.0, 0.3, 8.0])
def test_continuous_draws_have_the_mean_and_the_distribution(logit: float) -> None:
    count = 50_000
    likelihood = ContinuousBernoulli(ModelConfig(), DOMAIN)
    maps = torch.full((1, 1, 1, count), logit)
    draws = likelihood.sample(maps, torch.Generator().manual_seed(1)).double().flatten()
    mean = likelihood.mean(maps)[0, 0, 0, 0].item()
    assert abs(draws.mean().item() - mean) < 5 * draws.std().item() / math.sqrt(count)
    # Kolmogorov and Smirnov: expm1(lx) / expm1(l) is the distribution function
    ordered = draws.sort().values
    steep = torch.tensor(logit or 1e-9).double()
    expected = torch.expm1(steep * ordered) / torch.expm1(steep)
    empirical = (torch.arange(count) + 0.5) / count
    assert (expected - empirical).abs().max().item() < 2.0 / math.sqrt(count)


def mixed(config: ModelConfig, parameters: Tensor) -> Tensor:
    """Log-probability of each of the 256 levels ``[256, N]`` of a pixel with ``[N, 3 M]``."""
    likelihood = LIKELIHOODS["discretized_logistic_mixture"](config, DOMAIN)
    count = len(parameters)
    images = LEVELS.repeat_interleave(count).view(-1, 1, 1, 1)
    repeated = parameters.repeat(256, 1)[:, :, None, None]
    return likelihood.log_prob(images, repeated).view(256, count)


def test_a_mixture_of_logistics_is_the_weighted_sum_of_each() -> None:
    config = ModelConfig(likelihood_components=4)
    parameters = torch.randn(30, 12, generator=torch.Generator().manual_seed(3))
    logits, location, log_scale = parameters.double().chunk(3, dim=1)
    masses = [
        logistic_log_mass(place + 0.5, (scale - 2.0).exp()).exp()
        for place, scale in zip(location.T, log_scale.T, strict=True)
    ]
    weights = torch.softmax(logits, 1).T
    expected = sum(weight * mass for weight, mass in zip(weights, masses, strict=True))
    assert isinstance(expected, Tensor)
    found = mixed(config, parameters).double()
    torch.testing.assert_close(found.exp(), expected, rtol=1e-4, atol=1e-9)
    total = found.exp().sum(0)
    torch.testing.assert_close(total, torch.ones_like(total), rtol=0.0, atol=1e-4)


def test_one_logistic_alone_is_the_discretized_logistic() -> None:
    config = ModelConfig(likelihood_components=1)
    parameters = torch.cat([torch.randn(len(ORDINARY), 1), ORDINARY], dim=1)
    torch.testing.assert_close(mixed(config, parameters), every_level(ORDINARY))


def test_channels_of_a_mixture_are_independent_and_its_maps_in_order() -> None:
    config = ModelConfig(likelihood_components=2)
    likelihood = LIKELIHOODS["discretized_logistic_mixture"](config, DOMAIN)
    images, parameters = random_images(0), random_parameters(1, 6)
    alone = [
        likelihood.log_prob(images[:, c : c + 1], parameters[:, c::3]) for c in range(SHAPE[0])
    ]
    torch.testing.assert_close(likelihood.log_prob(images, parameters), torch.stack(alone).sum(0))


def test_levels_of_a_mixture_are_drawn_as_often_as_they_are_probable() -> None:
    count = 100_000
    config = ModelConfig(likelihood_components=2)
    parameters = torch.tensor([0.5, -0.5, -0.4, 0.2, -1.5, -1.0])
    maps = parameters.view(1, 6, 1, 1).expand(1, 6, 1, count)
    likelihood = LIKELIHOODS["discretized_logistic_mixture"](config, DOMAIN)
    draws = likelihood.sample(maps, torch.Generator().manual_seed(5)).flatten()
    assert_as_probable(draws, mixed(config, parameters[None])[:, 0].double().exp())
    levels = torch.linspace(0.0, 1.0, 256, dtype=torch.float64)
    expected = mixed(config, parameters[None])[:, 0].double().exp() @ levels
    mean = likelihood.mean(maps)[0, 0, 0, 0].double()
    torch.testing.assert_close(mean, expected, rtol=0.0, atol=2e-6)


def assert_as_probable(draws: Tensor, probability: Tensor) -> None:
    """Draws of grey levels against their probabilities, by chi-squared."""
    top = len(probability) - 1
    levels = (draws * top).round()
    torch.testing.assert_close(levels / top, draws)
    expected = len(draws) * probability
    counts = torch.bincount(levels.long(), minlength=len(probability)).double()
    often = expected > 20
    chi_squared = ((counts - expected).square() / expected)[often].sum().item()
    degrees = int(often.sum())
    assert chi_squared < degrees + 5 * math.sqrt(2 * degrees)


@pytest.mark.parametrize("levels", [2, 8, 256])
def test_categorical_is_that_of_torch(levels: int) -> None:
    likelihood = LIKELIHOODS["categorical"](ModelConfig(levels=levels), DOMAIN)
    images, parameters = random_images(0), random_parameters(1, levels)
    # maps are in the order: level by level, in each the channels
    logits = parameters.unflatten(1, (levels, SHAPE[0])).movedim(1, -1)
    nearest = (images * (levels - 1)).round()
    expected = Categorical(logits=logits)
    torch.testing.assert_close(
        likelihood.log_prob(images, parameters), expected.log_prob(nearest).sum((1, 2, 3))
    )
    values = torch.arange(levels) / (levels - 1)
    torch.testing.assert_close(likelihood.mean(parameters), (expected.probs * values).sum(-1))


def test_categories_are_drawn_as_often_as_they_are_probable() -> None:
    count, levels = 100_000, 16
    likelihood = LIKELIHOODS["categorical"](ModelConfig(levels=levels), DOMAIN)
    logits = torch.randn(levels, generator=torch.Generator().manual_seed(2))
    maps = logits.view(1, levels, 1, 1).expand(1, levels, 1, count)
    draws = likelihood.sample(maps, torch.Generator().manual_seed(5)).flatten()
    assert_as_probable(draws, torch.softmax(logits.double(), 0))


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_draws_of_an_image_are_as_likely_together_as_alone(name: str) -> None:
    likelihood = LIKELIHOODS[name](ModelConfig(likelihood_components=2, levels=4), DOMAIN)
    images = random_images(0, batch=4)
    if name == "categorical":
        images = (images * 3).round() / 3
    parameters = random_parameters(1, likelihood.maps_per_channel, 4 * 5)
    alone = [
        [likelihood.log_prob(images[i : i + 1], parameters[5 * i + k][None]) for k in range(5)]
        for i in range(4)
    ]
    expected = torch.stack([torch.cat(row) for row in alone])
    found = likelihood.log_prob_of_draws(images, parameters)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-4)
