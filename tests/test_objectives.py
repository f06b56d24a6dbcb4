"""The bound against models whose exact marginal likelihood is known, and against sums by hand."""

# torch leaves functions untyped
# mypy: disable-error-code="no-untyped-call"

import dataclasses
import itertools
import math
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import MultivariateNormal

from distvae.batch import Batch
from distvae.conditions import Conditions, Context
from distvae.config import ModelConfig, ObjectiveConfig
from distvae.distributions import DiagonalGaussian
from distvae.domains.levels import WHITE
from distvae.latents import Draw
from distvae.models import VAE, Terms, build_model
from distvae.networks import Decoder, Encoder
from distvae.objectives import (
    OBJECTIVES,
    Objective,
    Pressure,
    RunFacts,
    loss_of_means,
    negative_elbo,
)
from tests.spaces import gaussian, vector

ONE = Pressure(1.0, 0.0)
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


class _Given(Encoder):
    """An encoder that gives the same for every image, whatever the label."""

    def __init__(self, posterior: DiagonalGaussian) -> None:
        super().__init__()
        self.parts = nn.Parameter(torch.cat([*posterior], 1).float())

    def forward(self, inputs: Tensor, context: Context | None) -> tuple[Tensor]:
        return (self.parts.expand(len(inputs), -1),)


class _Linear(Decoder):
    """A decoder that is the matrix ``WEIGHT``."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(WEIGHT.float())
        self.offset = nn.Parameter(OFFSET.float())

    def initialize_output(self, parameters: Tensor) -> None:
        raise NotImplementedError

    def forward(self, z: Tensor, context: Context | None) -> Tensor:
        return (z @ self.weight.T + self.offset).view(-1, 1, 1, PIXELS)


def linear_gaussian(posterior: DiagonalGaussian, prior: str = "normal") -> VAE:
    """The model whose marginal likelihood is known, with a posterior of one's own.

    The label prior begins as N(0, I), so it changes nothing but that it can be learned.
    """
    kind: Literal["vae", "cvae"] = "cvae" if prior == "label" else "vae"
    config = ModelConfig(
        model=kind, prior=prior, latent_dim=LATENTS, likelihood="gaussian", sigma=SIGMA
    )
    model = build_model(config, (1, 1, PIXELS), ("a", "b"))
    model.encoder = _Given(posterior)
    gaussian(model).to_posterior = nn.Identity()  # type: ignore[assignment]
    model.decoder = _Linear()
    return model


def batch_of(images: Tensor, noise: Tensor, labels: Tensor | None = None) -> Batch:
    """A batch whose inputs are these images."""
    return Batch(float(WHITE) * images, Conditions.of_labels(labels), noise, None)


def objective(name: str, **changes: Any) -> Objective:
    config = ObjectiveConfig(name, **changes).resolved()
    images = changes.pop("images", 100)
    return OBJECTIVES[name](RunFacts(config, vector(LATENTS), LATENTS, LATENTS, PIXELS, images))


def batch(size: int, *shape: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """The one image so many times, labels, and noise of this shape for each."""
    noise = torch.randn(size, *shape, generator=torch.Generator().manual_seed(seed))
    return IMAGE.float().expand(size, 1, 1, PIXELS), torch.arange(size) % 2, noise


def bound(posterior: DiagonalGaussian, samples: int = 1) -> tuple[float, float]:
    """The bound of the linear Gaussian model for ``IMAGE``, and its standard error."""
    model = linear_gaussian(posterior)
    with torch.no_grad():
        size = DRAWS // samples
        shape = (LATENTS,) if samples == 1 else (samples, LATENTS)
        images, _, noise = batch(size, *shape)
        loss = objective("elbo", beta=1.0, importance_samples=samples)(
            model, batch_of(images, noise), ONE
        )
    assert torch.allclose(loss.loss, (loss.distortion + loss.rate).mean())
    return -loss.loss.item(), (loss.distortion.std() / math.sqrt(size)).item()


@pytest.mark.parametrize("samples", [1, 4])
def test_the_bound_is_the_likelihood_for_the_exact_posterior(samples: int) -> None:
    value, error = bound(exact_posterior(), samples)
    assert value == pytest.approx(log_marginal(), abs=5 * error)
    assert error < 0.01


def shortfall(shift: float, stretch: float) -> float:
    """KL of the exact posterior, moved and stretched, to the exact one."""
    _, log_variance = exact_posterior()
    one = 0.5 * (math.exp(stretch) + shift**2 / log_variance.exp() - 1 - stretch)
    return one.sum().item()


def moved(shift: float, stretch: float) -> DiagonalGaussian:
    mean, log_variance = exact_posterior()
    return DiagonalGaussian(mean + shift, log_variance + stretch)


@pytest.mark.parametrize(("shift", "stretch"), [(0.3, 0.0), (0.0, 0.5), (0.0, -1.0), (-0.5, 1.0)])
def test_the_bound_falls_short_by_the_divergence_to_the_exact_posterior(
    shift: float, stretch: float
) -> None:
    value, error = bound(moved(shift, stretch))
    assert value < log_marginal()
    assert log_marginal() - value == pytest.approx(shortfall(shift, stretch), abs=5 * error)


def weighed(name: str, posterior: DiagonalGaussian, samples: int) -> tuple[float, float]:
    """The importance-weighted bound for ``IMAGE``, and its standard error."""
    losses = []
    model, size = linear_gaussian(posterior), DRAWS // samples
    weigh = objective(name, importance_samples=samples)
    for seed in range(50):
        images, _, noise = batch(size // 50, samples, LATENTS, seed=seed)
        losses.append(-weigh(model, batch_of(images, noise), ONE).loss.detach())
    values = torch.stack(losses)
    return values.mean().item(), (values.std() / math.sqrt(50)).item()


@pytest.mark.parametrize("name", ["iwae", "dreg"])
@pytest.mark.parametrize("samples", [1, 7])
def test_the_weighted_bound_is_the_likelihood_for_the_exact_posterior(
    name: str, samples: int
) -> None:
    value, error = weighed(name, exact_posterior(), samples)
    assert value == pytest.approx(log_marginal(), abs=1e-4)
    assert error < 1e-5, "every weight is the same"


def test_the_weighted_bound_rises_to_the_likelihood() -> None:
    counts = (1, 2, 5, 20, 400)
    found = [weighed("iwae", moved(0.15, 0.7), samples) for samples in counts]
    first, error = found[0]
    assert first == pytest.approx(log_marginal() - shortfall(0.15, 0.7), abs=5 * error)
    for (lower, _), (upper, error) in itertools.pairwise(found):
        assert upper > lower + error
    last, error = found[-1]
    assert log_marginal() - 0.02 < last < log_marginal() + 5 * error


def gradients(name: str, weight: float, seed: int) -> dict[str, Tensor]:
    """Gradient of the bound of a model with a learned prior, by parameter."""
    model = linear_gaussian(moved(0.3, 0.8), "label")
    images, labels, noise = batch(40, 8, LATENTS, seed=seed)
    loss = objective(name, importance_samples=8)(
        model, batch_of(images, noise, labels), Pressure(weight, 0.0)
    )
    loss.loss.backward()
    held = {name: parameter.grad for name, parameter in model.named_parameters()}
    return {name: value for name, value in held.items() if value is not None}


@pytest.mark.slow
@pytest.mark.parametrize("weight", [1.0, 0.4])
def test_the_doubly_reparameterized_gradient_has_the_mean_of_the_plain_one_and_less_noise(
    weight: float,
) -> None:
    kinds: tuple[str, ...] = ("iwae", "dreg")
    repeats, name = 200, "encoder.parts"
    plain, double = (
        torch.stack([gradients(kind, weight, 1000 * first + seed)[name] for seed in range(repeats)])
        for first, kind in enumerate(kinds)
    )
    error = ((plain.var(0) + double.var(0)) / repeats).sqrt()
    assert ((plain.mean(0) - double.mean(0)).abs() < 4.5 * error).all()
    certain = double.mean(0).abs() > 10 * double.std(0) / math.sqrt(repeats)
    assert certain[:, :LATENTS].all(), "the gradient of the mean is not zero"
    assert (double.var(0) < 0.7 * plain.var(0)).all()


def test_decoder_and_learned_prior_have_the_plain_gradient() -> None:
    plain, double = gradients("iwae", 1.0, 3), gradients("dreg", 1.0, 3)
    names = [name for name in plain if not name.startswith("encoder")]
    assert {name.rpartition(".")[0] for name in names} == {"decoder", "latents.prior"}
    for name in names:
        torch.testing.assert_close(double[name], plain[name], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(double["encoder.parts"], plain["encoder.parts"], rtol=0.01)


def test_one_weighted_draw_has_the_gradient_of_the_path_alone() -> None:
    # with the exact posterior log p(x, z) - log q(z|x) is the same for all z, so the path has none
    model = linear_gaussian(exact_posterior())
    images, _, noise = batch(50, 1, LATENTS)
    objective("dreg", importance_samples=1)(model, batch_of(images, noise), ONE).loss.backward()
    gradient = model.encoder.get_parameter("parts").grad
    assert gradient is not None
    assert gradient.abs().max() < 1e-5


def make_terms() -> Terms:
    zeros = torch.zeros(2, 3)
    rate = torch.tensor([[1.0, 0.0, 4.0], [2.0, 0.5, 6.0]])
    draw = Draw("z", zeros, zeros, rate)
    return Terms((draw,), torch.zeros(2, 1, PIXELS), torch.tensor([-10.0, -20.0]))


@pytest.mark.parametrize("weight", [0.0, 0.5, 1.0, 4.0])
def test_the_kl_weight_multiplies_the_rate(weight: float) -> None:
    # distortions 10 and 20, rates 5 and 8.5
    for kl_weight in (weight, torch.tensor(weight)):
        found = negative_elbo(make_terms(), kl_weight, SUM, 784)
        assert found.loss.item() == pytest.approx(15.0 + weight * 6.75)
        assert found.distortion.tolist() == [10.0, 20.0]
        assert found.rate.tolist() == [5.0, 8.5]


@pytest.mark.parametrize(
    ("free_bits", "pressed"),
    # the mean KL of the three dimensions is 1.5, 0.25 and 5
    [(0.0, 6.75), (0.2, 6.75), (1.0, 7.5), (2.0, 9.0), (6.0, 18.0)],
)
def test_free_bits_by_hand(free_bits: float, pressed: float) -> None:
    found = negative_elbo(make_terms(), 2.0, dataclasses.replace(SUM, free_bits=free_bits), 784)
    assert found.loss.item() == pytest.approx(15.0 + 2.0 * pressed)
    assert found.rate.tolist() == [5.0, 8.5]


def test_a_dimension_below_its_free_bits_is_not_pressed() -> None:
    terms = make_terms()
    rate = terms.rate.clone().requires_grad_()
    terms = terms._replace(draws=(terms.draws[0]._replace(rate=rate),))
    loss = negative_elbo(terms, 1.0, dataclasses.replace(SUM, free_bits=1.0), 1).loss
    loss.backward()
    assert rate.grad is not None
    assert rate.grad.tolist() == [[0.5, 0.0, 0.5], [0.5, 0.0, 0.5]]


def test_the_mean_over_pixels_is_the_sum_with_a_larger_kl_weight() -> None:
    def value(weight: float, reduction: Literal["sum", "mean"], dims: int) -> Tensor:
        config = dataclasses.replace(SUM, reduction=reduction)
        return negative_elbo(make_terms(), weight, config, dims).loss

    assert value(1.0, "mean", 784).item() == pytest.approx(15.0 / 784 + 6.75)
    for dims in (1, 3, 784):
        torch.testing.assert_close(
            dims * value(0.5, "mean", dims), value(0.5 * dims, "sum", dims), rtol=1e-5, atol=1e-5
        )


@pytest.mark.parametrize(("capacity", "distance"), [(0.0, 6.75), (2.0, 4.75), (10.0, 3.25)])
def test_the_rate_is_pulled_to_the_capacity(capacity: float, distance: float) -> None:
    config = dataclasses.replace(SUM, capacity=10.0, beta=4.0)
    found = negative_elbo(make_terms(), 4.0, config, 784, capacity)
    assert found.loss.item() == pytest.approx(15.0 + 4.0 * distance)
    assert found.rate.tolist() == [5.0, 8.5]
    final = loss_of_means(15.0, 6.75, dataclasses.replace(config, capacity=capacity), 784)
    assert final == pytest.approx(15.0 + 4.0 * distance)


def test_the_loss_that_early_stopping_compares() -> None:
    config = dataclasses.replace(SUM, beta=2.0)
    assert loss_of_means(15.0, 6.75, config, 10) == 28.5
    assert loss_of_means(15.0, 6.75, dataclasses.replace(config, reduction="mean"), 10) == 15.0
    assert loss_of_means(15.0, 6.75, ObjectiveConfig("iwae").resolved(), 10) == 21.75
