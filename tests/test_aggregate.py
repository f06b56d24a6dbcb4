"""Objectives of the aggregate posterior, where it or its moments are known."""

# torch leaves functions untyped
# mypy: disable-error-code="no-untyped-call"

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from distvae.batch import Batch
from distvae.conditions import Conditions
from distvae.config import ModelConfig, ObjectiveConfig
from distvae.declarations import declared
from distvae.domains.levels import WHITE
from distvae.models import VAE, build_model
from distvae.objectives import OBJECTIVES, Loss, Objective, Pressure, RunFacts
from distvae.objectives.beta_tc import log_aggregate
from distvae.objectives.factor import Factor, discriminator_loss, shuffle_dimensions
from distvae.objectives.mmd import mmd
from distvae.parts import WHOLE_BATCH
from tests.spaces import ABOUT_LABELS, gaussian, vector

LATENTS, SIDE, BATCH = 3, 4, 10
IMAGES = 50
ONE = Pressure(1.0, 0.0)


def batch_of(images: Tensor, noise: Tensor, labels: Tensor | None = None) -> Batch:
    """A batch whose inputs are these images."""
    return Batch(float(WHITE) * images, Conditions.of_labels(labels), noise, None)


def objective(name: str, **changes: Any) -> Objective:
    torch.manual_seed(1)
    config = ObjectiveConfig(name, discriminator=(8, 8), **changes).resolved()
    return OBJECTIVES[name](RunFacts(config, vector(LATENTS), LATENTS, LATENTS, SIDE**2, IMAGES))


def a_model() -> VAE:
    torch.manual_seed(0)
    model = build_model(
        ModelConfig(model="vae", prior="normal", hidden=(8,), latent_dim=LATENTS),
        (1, SIDE, SIDE),
        (),
    )
    with torch.no_grad():  # far from the prior
        gaussian(model).to_posterior.bias.add_(torch.linspace(-1, 1, 2 * LATENTS))
        gaussian(model).to_posterior.weight.mul_(20.0)
    return model


def posteriors(size: int = BATCH) -> tuple[Tensor, Tensor, Tensor]:
    """Latents and the means and log-variances of the posteriors that they were drawn from."""
    generator = torch.Generator().manual_seed(0)
    mean, log_variance, noise = (
        torch.randn(size, LATENTS, generator=generator).double() for _ in range(3)
    )
    return mean + torch.exp(0.5 * log_variance) * noise, mean, log_variance


def images_and_noise() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(BATCH, 1, SIDE, SIDE, generator=generator).round()
    return images, torch.randn(BATCH, LATENTS, generator=generator)


def result(name: str, weight: float = 1.0, **changes: Any) -> tuple[Loss, Loss]:
    """The loss of an objective, and that of the plain bound."""
    model, (images, noise) = a_model(), images_and_noise()
    shaped = noise if name != "mmd" else torch.stack([noise, noise.flip(0)], 1)
    pressure = Pressure(weight, 0.0)
    plain = objective("elbo", beta=weight)(model, batch_of(images, noise), pressure)
    return objective(name, **changes)(model, batch_of(images, shaped), pressure), plain


@pytest.mark.parametrize("name", [name for name in OBJECTIVES if name not in ABOUT_LABELS])
def test_only_a_coupled_loss_is_more_than_the_mean_over_images(name: str) -> None:
    model, (images, noise) = a_model(), images_and_noise()
    loss_of = objective(name, importance_samples=1)
    if loss_of.draws is not None:
        noise = torch.stack([noise, noise.flip(0)][: loss_of.draws], 1)
    parts = slice(0, BATCH), slice(0, BATCH // 2), slice(BATCH // 2, BATCH)
    losses = [loss_of(model, batch_of(images[part], noise[part]), ONE) for part in parts]
    whole, first, second = (
        loss.loss.item() + sum(extra.item() for extra in loss.extras.values()) for loss in losses
    )
    coupled = {*WHOLE_BATCH} <= {*declared("objective")[name].part.needs}
    assert (whole != pytest.approx((first + second) / 2, rel=1e-5)) == coupled


def test_with_all_images_in_the_batch_the_aggregate_density_is_exact() -> None:
    z, mean, log_variance = posteriors()
    joint, dimensions = log_aggregate(z, mean, log_variance, BATCH)
    each = Categorical(torch.ones(BATCH).double())
    normals = Normal(mean, (0.5 * log_variance).exp())
    exact = MixtureSameFamily(each, Independent(normals, 1)).log_prob(z)
    torch.testing.assert_close(joint, exact)
    for j in range(LATENTS):
        one = Normal(mean[:, j], (0.5 * log_variance[:, j]).exp())
        torch.testing.assert_close(dimensions[:, j], MixtureSameFamily(each, one).log_prob(z[:, j]))


def test_over_all_batches_the_estimated_density_is_that_of_all_images() -> None:
    z, mean, log_variance = posteriors(6)
    exact = log_aggregate(z, mean, log_variance, 6)[0].exp()
    found = torch.zeros(6, dtype=torch.float64)
    for rows in map(list, itertools.combinations(range(6), 3)):
        found[rows] += log_aggregate(z[rows], mean[rows], log_variance[rows], 6)[0].exp()
    torch.testing.assert_close(found / math.comb(5, 2), exact)


@pytest.mark.slow
def test_total_correlation_of_a_known_aggregate() -> None:
    # means from a Gaussian and one variance for all: their aggregate is a Gaussian
    size, generator = 3000, torch.Generator().manual_seed(0)
    spread = torch.tensor([[1.0, 0.0, 0.0], [0.9, 0.3, 0.0], [0.2, 0.1, 1.0]])
    noise = torch.randn(2, size, LATENTS, generator=generator)
    mean, variance = noise[0] @ spread.T, 0.25
    z = mean + math.sqrt(variance) * noise[1]
    joint, dimensions = log_aggregate(z, mean, torch.full_like(mean, math.log(variance)), 10 * size)
    covariance = spread @ spread.T + variance * torch.eye(LATENTS)
    exact = 0.5 * (covariance.diagonal().log().sum() - covariance.logdet())
    assert exact > 0.4
    assert (joint - dimensions.sum(1)).mean().item() == pytest.approx(exact.item(), abs=0.04)


@pytest.mark.parametrize("beta", [1.0, 6.0])
@pytest.mark.parametrize("weight", [1.0, 0.5])
def test_beta_tc_splits_the_rate_and_weighs_a_part(beta: float, weight: float) -> None:
    loss, plain = result("beta_tc", weight, penalty=beta)
    assert torch.equal(loss.rate, plain.rate)
    model, (images, noise) = a_model(), images_and_noise()
    mean, log_variance = model.encode(images).base
    z = mean + (0.5 * log_variance).exp() * noise
    draw = Normal(mean, (0.5 * log_variance).exp()).log_prob(z) - Normal(0.0, 1.0).log_prob(z)
    assert sum(loss.extras.values()).item() == pytest.approx(draw.sum(1).mean().item(), rel=1e-5)  # type: ignore[union-attr]
    joint, dimensions = log_aggregate(z, mean, log_variance, IMAGES)
    correlation = (joint - dimensions.sum(1)).mean().item()
    assert correlation > 0.1
    expected = plain.loss.item() + weight * (beta - 1) * correlation
    assert loss.loss.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("name", "ratio"), [("dip_i", 10.0), ("dip_ii", 1.0)])
def test_dip_against_numpy(name: str, ratio: float) -> None:
    loss, plain = result(name, penalty=3.0)
    mean, log_variance = (
        part.detach().numpy() for part in a_model().encode(images_and_noise()[0]).base
    )
    covariance = np.cov(mean, rowvar=False)
    if name == "dip_ii":
        covariance = covariance + np.diag(np.exp(log_variance).mean(0))
    squares = (covariance - np.eye(LATENTS)) ** 2
    diagonal = np.trace(squares)
    expected = 3.0 * (squares.sum() - diagonal) + 3.0 * ratio * diagonal
    assert (loss.loss - plain.loss).item() == pytest.approx(expected, rel=1e-4)
    assert expected > 1


def test_mmd_against_a_double_loop() -> None:
    first, second, _ = posteriors()
    assert mmd(first, first).item() == pytest.approx(0.0, abs=1e-12)
    assert mmd(first, first.flip(0)).item() == pytest.approx(0.0, abs=1e-12)

    def kernel(a: Tensor, b: Tensor) -> float:
        return sum(
            math.exp(-(math.dist(row, other) ** 2) / (2 * LATENTS))
            for row in a.tolist()
            for other in b.tolist()
        ) / (len(a) * len(b))

    expected = kernel(first, first) + kernel(second, second) - 2 * kernel(first, second)
    assert mmd(first, second).item() == pytest.approx(expected)
    assert expected > 0.01


def test_mmd_holds_the_latents_against_draws_of_the_prior() -> None:
    loss, plain = result("mmd", penalty=7.0)
    images, noise = images_and_noise()
    z = a_model().encode(images).sample(noise)
    expected = plain.loss + 7.0 * mmd(z, noise.flip(0))
    torch.testing.assert_close(loss.loss, expected)


def test_no_row_keeps_two_of_its_dimensions() -> None:
    rows = torch.arange(BATCH)[:, None].expand(BATCH, LATENTS)
    shuffled = shuffle_dimensions(rows)
    assert torch.equal(shuffled.sort(0).values, rows)
    assert all(len({*row, number}) == LATENTS + 1 for number, row in enumerate(shuffled.tolist()))
    few = shuffle_dimensions(rows[:2])
    assert torch.equal(few.sort(0).values, rows[:2])


@pytest.mark.slow
def test_the_best_discriminator_tells_the_total_correlation() -> None:
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    spread = torch.tensor([[1.0, 0.0], [0.8, 0.6]])
    config = ObjectiveConfig("factor", discriminator=(32, 32)).resolved()
    facts = RunFacts(config, vector(2), 2, 2, dims=1, images=1)
    discriminator = Factor(facts).discriminator
    optimizer = torch.optim.Adam(discriminator.parameters(), lr=5e-3)
    for step in range(600):
        optimizer.param_groups[0]["lr"] = 5e-3 * (1 - step / 600)
        optimizer.zero_grad()
        z = torch.randn(512, 2, generator=generator) @ spread.T
        discriminator_loss(discriminator, z).backward()
        optimizer.step()
    with torch.no_grad():
        z = torch.randn(50_000, 2, generator=generator) @ spread.T
        found = discriminator(z).mean().item()
    assert found == pytest.approx(-0.5 * math.log(1 - 0.8**2), abs=0.05)


def grads(module: nn.Module) -> list[Tensor | None]:
    return [parameter.grad for parameter in module.parameters()]


def test_model_and_discriminator_each_learn_from_their_own_term() -> None:
    model, factor = a_model(), objective("factor", penalty=5.0)
    images, noise = images_and_noise()
    loss = factor(model, batch_of(images, noise), ONE)
    loss.total(("model", "discriminator")).backward()
    found = grads(model), grads(factor)

    apart, alone = a_model(), objective("factor", penalty=5.0)
    assert isinstance(alone, Factor)
    plain = objective("elbo", beta=1.0)(apart, batch_of(images, noise), ONE)
    z = apart.encode(images).sample(noise)
    expected = plain.loss + 5.0 * alone.discriminator(z).mean()
    expected.backward()
    assert loss.loss.item() == pytest.approx(expected.item(), rel=1e-6)
    torch.testing.assert_close(found[0], grads(apart))

    alone.zero_grad()
    discriminator_loss(alone.discriminator, z.detach()).backward()
    torch.testing.assert_close(found[1], grads(alone))
    assert loss.extras["discriminator_loss"].item() == pytest.approx(math.log(2), abs=0.1)
