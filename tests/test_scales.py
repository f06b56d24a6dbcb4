"""What keeps a learned scale from running away: densities and gradients at its bounds."""

# torch leaves functions untyped
# mypy: disable-error-code="no-untyped-call"

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal, Normal
from torch.func import grad_and_value

from distvae.conditions import Context, ContextShape
from distvae.config import ModelConfig
from distvae.distributions import LOG_SCALE
from distvae.domains import Images
from distvae.gradients import held
from distvae.likelihoods.continuous_bernoulli import ContinuousBernoulli
from distvae.likelihoods.discretized_logistic import DiscretizedLogistic
from distvae.likelihoods.gaussian import Gaussian
from distvae.models import VAE
from distvae.priors.label import LabelPrior
from distvae.priors.mixture import MixturePrior
from tests.spaces import gaussian

DOMAIN = Images((1, 8, 8))
NARROWEST, WIDEST = math.exp(-LOG_SCALE), math.exp(LOG_SCALE)


def aimed(values: Tensor, aim: float) -> Tensor:
    return (held(values, 6.0) - aim).square().sum()


@pytest.mark.parametrize(
    ("aim", "pulled"),
    [
        (-9.0, [0.0, 6.0, 8.0, 30.0]),
        (9.0, [-30.0, -30.0, -28.0, 0.0]),
        (0.0, [-12.0, -12.0, -10.0, 12.0]),
    ],
)
def test_what_is_held_is_moved_back_and_not_on(aim: float, pulled: list[float]) -> None:
    values = torch.tensor([-7.0, -6.0, -5.0, 7.0], requires_grad=True)
    aimed(values, aim).backward()
    assert values.grad is not None
    assert values.grad.tolist() == pulled
    compiled = torch.compile(grad_and_value(aimed), backend="eager", fullgraph=True)
    gradient, loss = compiled(values.detach(), aim)
    assert loss == aimed(values, aim)
    assert gradient.tolist() == [2.0 * (value - aim) for value in (-6.0, -6.0, -5.0, 6.0)]


def test_what_lies_between_and_its_gradient_are_as_they_were() -> None:
    values = torch.linspace(-6.0, 6.0, 101, requires_grad=True)
    assert torch.equal(held(values, 6.0), values)
    (gradient,) = torch.autograd.grad(held(values, 6.0).sin().sum(), values)
    assert torch.equal(gradient, values.cos())


def gradient_of(density: Callable[[], Tensor], parameter: Tensor) -> Tensor:
    (gradient,) = torch.autograd.grad(density().sum(), parameter)
    return gradient


def fill(parameter: Tensor, value: float) -> None:
    with torch.no_grad():
        parameter.fill_(value)


def test_a_learned_sigma_has_a_floor_and_one_that_was_asked_for_has_none() -> None:
    image = torch.ones(1, 1, 2, 2)
    learned, fixed = Gaussian(ModelConfig(), DOMAIN), Gaussian(ModelConfig(sigma=1e-3), DOMAIN)
    assert isinstance(learned.log_sigma, Tensor)
    fill(learned.log_sigma, -50.0)
    most = Normal(0.0, math.exp(-6.0)).log_prob(torch.tensor(0.0)).item() * 4
    assert learned.log_prob(image, image).item() == pytest.approx(most)
    assert gradient_of(lambda: -learned.log_prob(image, image), learned.log_sigma) == 0
    # of an error of two sigmas the gradient is 1 - 4 for each pixel, and it passes
    off = image - 2.0 * math.exp(-6.0)
    up = gradient_of(lambda: -learned.log_prob(off, image), learned.log_sigma)
    assert up.item() == pytest.approx(4 * (1 - 4), rel=1e-4)
    learned.requires_grad_(False)  # as averages are
    assert learned.log_prob(image, image).item() == pytest.approx(most)
    assert fixed.log_prob(image, image).item() > most


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_the_slope_of_a_continuous_bernoulli_is_held(sign: float) -> None:
    likelihood, steepest = ContinuousBernoulli(ModelConfig(), DOMAIN), math.exp(7.0)
    logit = torch.full((1, 1, 1, 1), sign * 1e6, requires_grad=True)
    # near its end the density is an exponential one of the distance from there
    for distance in (0.0, 0.001, 0.01):
        image = torch.full((1, 1, 1, 1), 0.5 + sign * (0.5 - distance))
        expected = math.log(steepest) - steepest * distance
        assert likelihood.log_prob(image, logit).item() == pytest.approx(expected, rel=1e-4)
        (gradient,) = torch.autograd.grad(-likelihood.log_prob(image, logit).sum(), logit)
        slope = gradient.item()
        exact = sign * (distance - 1.0 / steepest)
        assert slope == pytest.approx(exact if distance * steepest > 1 else 0.0, rel=1e-3)
    mean = likelihood.mean(logit.detach())
    assert (mean * 255).round().item() == (255 if sign > 0 else 0)
    draws = likelihood.sample(logit.detach().expand(20_000, 1, 1, 1), torch.Generator())
    spread = (draws - 0.5).abs().sub(0.5).abs().mean().item()
    assert spread == pytest.approx(1.0 / steepest, rel=0.05)


def test_the_scale_of_a_discretized_logistic_is_at_least_a_quarter_of_a_level() -> None:
    likelihood, narrowest = DiscretizedLogistic(ModelConfig(), DOMAIN), math.exp(-7.0)
    image = torch.full((1, 1, 1, 1), 100.0 / 255.0)
    parameters = torch.stack([image[0] - 0.5, torch.tensor([[[-50.0]]])], dim=1)
    assert narrowest * 255 == pytest.approx(0.23, abs=0.005)
    half = 0.5 / 255 / narrowest
    mass = 1.0 / (1.0 + math.exp(-half)) - 1.0 / (1.0 + math.exp(half))
    assert likelihood.log_prob(image, parameters).item() == pytest.approx(math.log(mass), rel=1e-3)


@pytest.mark.parametrize(("runaway", "scale"), [(50.0, NARROWEST), (-50.0, WIDEST)])
def test_scales_of_a_label_prior_are_held(runaway: float, scale: float) -> None:
    prior = LabelPrior(ModelConfig(latent_dim=3), ContextShape(2))
    label = Context(torch.zeros(1, dtype=torch.int64))
    fill(prior.log_diagonals, runaway)  # the logarithm of the inverse
    normal = MultivariateNormal(torch.zeros(3), scale_tril=scale * torch.eye(3))
    z = scale * torch.tensor([[0.5, -1.0, 2.0]])
    assert prior.log_prob(z, label).item() == pytest.approx(normal.log_prob(z).item(), rel=1e-5)
    noise = torch.tensor([[1.0, -2.0, 0.5]])
    torch.testing.assert_close(prior.transform(noise, label), scale * noise)
    # d/dlog(diagonal) of the density is 1 - noise squared: up where z is near, down where it is far
    slope = -1.0 * (1.0 - noise[0].new_tensor([0.25, 1.0, 4.0]))
    away = slope * runaway < 0
    found = gradient_of(lambda: -prior.log_prob(z, label), prior.log_diagonals)[0]
    torch.testing.assert_close(found, slope.masked_fill(away, 0.0), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("runaway", "scale"), [(-90.0, NARROWEST), (90.0, WIDEST)])
def test_scales_of_a_mixture_prior_are_held(runaway: float, scale: float) -> None:
    prior = MixturePrior(ModelConfig(latent_dim=3, prior_components=1), ContextShape(0))
    fill(prior.log_variances, runaway)
    fill(prior.means, 2.0)
    noise = torch.tensor([[0.5, -1.0, 2.0]], dtype=torch.float64)
    z = 2.0 + scale * noise
    expected = Normal(2.0, scale).log_prob(z).sum().item()
    assert prior.log_prob(z, None).item() == pytest.approx(expected, rel=1e-4)
    slope = 0.5 * (1.0 - noise[0].square().float())
    away = slope * runaway < 0
    found = gradient_of(lambda: -prior.log_prob(z, None), prior.log_variances)[0]
    torch.testing.assert_close(found, slope.masked_fill(away, 0.0), rtol=1e-3, atol=1e-3)
    drawn = prior.transform(torch.tensor([[0.0, 1.0, 1.0, -1.0, 0.0]]), None)
    torch.testing.assert_close(drawn, 2.0 + scale * torch.tensor([[1.0, -1.0, 0.0]]))


@pytest.mark.parametrize("posterior", ["gaussian", "flow"])
@pytest.mark.parametrize(("runaway", "scale"), [(-70.0, NARROWEST), (70.0, WIDEST)])
def test_scales_of_a_posterior_are_held(posterior: str, runaway: float, scale: float) -> None:
    config = ModelConfig(model="vae", hidden=(8,), latent_dim=2, prior="normal")
    if posterior == "flow":
        config = ModelConfig(**{**vars(config), "posterior": "flow"})
    model = VAE(config, (1, 4, 4))
    fill(gaussian(model).to_posterior.weight, 0.0)
    with torch.no_grad():
        gaussian(model).to_posterior.bias.copy_(torch.tensor([0.5, -0.5, runaway, 0.0]))
    images, noise = torch.zeros(1, 1, 4, 4), torch.tensor([[2.0, 0.0]])
    found = model.posterior(images)  # a flow begins as the identity
    z = found.sample(noise)
    assert z[0, 0].item() == pytest.approx(0.5 + 2.0 * scale, abs=1e-6 + 1e-6 * scale)
    expected = Normal(0.5, scale).log_prob(torch.tensor(0.5 + 2.0 * scale))
    expected = expected + Normal(0.0, 1.0).log_prob(torch.tensor(0.0))
    assert found.log_prob(z).item() == pytest.approx(expected.item(), rel=1e-2)
    assert found.detached().log_prob(z).item() == found.log_prob(z).item()
    # the KL asks for variance 1: its gradient, (variance - 1) / 2, brings the scale back
    rate = gaussian(model).prior.kl(model.posterior(images).base, None)
    assert rate is not None
    (back,) = torch.autograd.grad(rate.sum(), gaussian(model).to_posterior.bias)
    assert back[2].item() == pytest.approx(0.5 * (scale * scale - 1.0), rel=1e-4)


def test_a_flow_changes_a_scale_by_no_more_than_it_says() -> None:
    config = ModelConfig(model="vae", hidden=(8,), latent_dim=2, prior="flow")
    prior = gaussian(VAE(config, (1, 4, 4))).prior
    for sign in (-1.0, 1.0):
        for name, parameter in prior.named_parameters():
            if name.endswith("out.bias"):
                fill(parameter, sign * 1e6)  # log-scales as far as they go
                with torch.no_grad():
                    parameter[1:] = 0.0  # and no shift
        z = prior.transform(torch.ones(1, 2), None)
        torch.testing.assert_close(z.log(), torch.full((1, 2), 6.0 * sign), rtol=1e-4, atol=1e-4)
