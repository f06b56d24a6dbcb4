"""The importance-weighted log-likelihood, against models whose log p(x) can be computed."""

import dataclasses
import math

import pytest
import torch
from torch import Tensor

from distvae.conditions import Context
from distvae.config import ModelConfig
from distvae.data.batches import ResidentImages
from distvae.domains import Images
from distvae.evaluation.likelihood import Estimate, likelihood_metrics, log_likelihood, marginal
from distvae.evaluation.passes import Share
from distvae.models import VAE, build_model
from tests.spaces import gaussian

SHAPE = (1, 2, 3)
NAMES = ("oak", "fir", "elm")
SEED = 3
WIDE = 2.5
"""Log-variance of the posteriors, wider than any true one, so that no draw weighs much more."""


def small(images: int) -> ResidentImages:
    generator = torch.Generator().manual_seed(0)
    grey = torch.randint(0, 256, (images, *SHAPE), generator=generator, dtype=torch.uint8)
    return ResidentImages(grey, torch.arange(images) % len(NAMES), torch.device("cpu"))


def model_of(kind: str, **settings: object) -> VAE:
    torch.manual_seed(1)
    config = ModelConfig(network="mlp", hidden=(8,), latent_dim=1)
    config = dataclasses.replace(config, model=kind, **settings)  # type: ignore[arg-type]
    model = build_model(config, SHAPE, NAMES).eval()
    with torch.no_grad():  # far from what it begins as
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
        gaussian(model).to_posterior.weight.mul_(0.1)
        gaussian(model).to_posterior.bias.copy_(torch.tensor([0.2, WIDE]))
    return model


@torch.no_grad()
def on_a_grid(model: VAE, images: Tensor, labels: Tensor | None) -> Tensor:
    """Log p(x) by integration over the one latent, ``[B]``."""
    points = torch.linspace(-12.0, 12.0, 20_001)
    found = []
    for number, image in enumerate(images):
        y = None if labels is None else labels[number].expand(len(points))
        context = Context.of_label(y)
        parameters = model.decoder(points[:, None], context)
        given = model.likelihood.log_prob(image.expand(len(points), *SHAPE), parameters).double()
        joint = given + gaussian(model).prior.log_prob(points[:, None], context)
        found.append(joint.logsumexp(0) + math.log(points[1] - points[0]))
    return torch.stack(found)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "prior", "posterior"),
    [("vae", "normal", "gaussian"), ("cvae", "label", "gaussian"), ("cvae", "mixture", "gaussian")],
)
@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_it_is_the_integral(kind: str, prior: str, posterior: str, likelihood: str) -> None:
    model = model_of(kind, prior=prior, posterior=posterior, likelihood=likelihood)
    images = small(23)  # a ragged last block
    found = log_likelihood(model, images, SEED, 20_000)
    labels = images.labels if model.conditional else None
    exact = on_a_grid(model, images.stored / 255.0, labels)
    # by the delta method an image's estimate has the standard deviation 1 / sqrt(effective)
    deviations = (found.log_likelihood - exact) * found.effective.sqrt()
    assert found.effective.min() > 20  # a far draw may weigh much under a wide prior
    assert deviations.abs().max() < 5.0
    assert deviations.square().mean().sqrt() < 2.0


def test_more_draws_give_a_higher_mean_and_few_that_of_the_elbo() -> None:
    model, images = model_of("vae", prior="normal"), small(200)
    means = [
        log_likelihood(model, images, SEED, draws).log_likelihood.mean() for draws in (1, 10, 100)
    ]
    assert means[0] < means[1] < means[2]
    terms = model(images.stored / 255.0, None, torch.randn(200, 400, 1), 400, densities=True)
    weights = terms.log_likelihood + terms.log_p - terms.log_q
    error = weights.std() / math.sqrt(200)
    assert means[0] == pytest.approx(weights.mean().item(), abs=5 * error.item())


def test_processes_and_memory_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    model, images = model_of("cvae", prior="label"), small(53)
    model.domain = Images(model.image_shape, "dynamic")
    whole = log_likelihood(model, images, SEED, 130)
    parts = [log_likelihood(model, images, SEED, 130, share=Share(rank, 3)) for rank in range(3)]
    monkeypatch.setattr("distvae.evaluation.likelihood.VALUES", 700)
    chunked = log_likelihood(model, images, SEED, 130)
    held = torch.stack([part.log_likelihood + math.log(130) for part in parts])
    assert held.count_nonzero(0).tolist() == [1] * 53  # no image by two processes
    torch.testing.assert_close(held.sum(0) - math.log(130), whole.log_likelihood)
    torch.testing.assert_close(chunked.log_likelihood, whole.log_likelihood, rtol=1e-6, atol=1e-5)


@pytest.mark.slow
def test_the_marginal_is_the_integral_over_labels_too() -> None:
    model, images = model_of("cvae", prior="label"), small(12)
    shares = torch.tensor([0.5, 0.3, 0.2])
    estimates, exact = [], []
    for label in range(len(NAMES)):
        estimates.append(log_likelihood(model, images, SEED, 20_000, label=label))
        labels = torch.full((12,), label)
        exact.append(on_a_grid(model, images.stored / 255.0, labels) + shares[label].log())
    found = marginal(estimates, shares)
    torch.testing.assert_close(
        found.log_likelihood, torch.stack(exact).logsumexp(0), rtol=0.0, atol=0.1
    )


def test_means_by_label_and_the_spread_between() -> None:
    values = torch.tensor([-1.0, -3.0, -2.0, -6.0], dtype=torch.float64)
    estimate = Estimate(values, torch.tensor([5.0, 7.0, 9.0, 100.0]))
    found = dict(likelihood_metrics(estimate, torch.tensor([0, 0, 1, 1]), NAMES, "it"))
    assert found["it"] == -3.0
    assert found["it_standard_error"] == pytest.approx(math.sqrt(14 / 3) / 2)
    assert found["it_effective_draws"] == 7.0
    assert (found["it/oak"], found["it/fir"]) == (-2.0, -4.0)
    assert 0.0 < found["it_spread"] < 2.0  # chance has a part in which of two is the better
    assert found["it_spread_standard_error"] > 1.0
    assert "it/elm" not in found
    assert "it_spread" not in dict(likelihood_metrics(estimate, None, (), "it"))
