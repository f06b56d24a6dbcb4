"""The parts of the rate, against densities of torch.distributions and known extremes."""

import dataclasses
import math

import pytest
import torch
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from distvae.config import ModelConfig
from distvae.data.batches import ResidentImages
from distvae.data.store import Split
from distvae.draws.philox import Stream
from distvae.draws.steps import NoiseSource
from distvae.evaluation.elbo import elbo_metrics
from distvae.evaluation.latents import (
    Latents,
    information_metrics,
    latent_metrics,
    log_aggregate,
)
from distvae.models import VAE, build_model
from tests.spaces import gaussian

SHAPE = (1, 4, 4)
NAMES = ("oak", "fir")


def model_of(kind: str, **settings: object) -> VAE:
    torch.manual_seed(1)
    config = ModelConfig(network="mlp", hidden=(8,), latent_dim=3)
    config = dataclasses.replace(config, model=kind, **settings)  # type: ignore[arg-type]
    return build_model(config, SHAPE, NAMES).eval()


def some(images: int) -> ResidentImages:
    grey = torch.randint(0, 256, (images, *SHAPE), dtype=torch.uint8)
    return ResidentImages(grey, torch.arange(images) % len(NAMES), torch.device("cpu"))


def test_the_aggregate_is_a_mixture() -> None:
    z, mean, log_variance = (torch.randn(size, 4, dtype=torch.float64) for size in (5, 40, 40))
    parts = Independent(Normal(mean, (0.5 * log_variance).exp()), 1)
    mixture = MixtureSameFamily(Categorical(torch.ones(40)), parts)
    torch.testing.assert_close(log_aggregate(z, mean, log_variance), mixture.log_prob(z))  # type: ignore[no-untyped-call]


def split_of(images: ResidentImages) -> Split:
    assert images.labels is not None
    return Split.of_images(images.stored.numpy(), images.labels.numpy())


def measured(model: VAE, images: ResidentImages) -> dict[str, float]:
    return dict(latent_metrics(model, images, split_of(some(600)), seed=0))


def linear(count: int, weight: torch.Tensor, noise: float, seed: int) -> Latents:
    """Images x of N(0, I), z given x of N(W x, noise^2 I), and a standard normal prior."""
    generator = torch.Generator().manual_seed(seed)
    normal = {"generator": generator, "dtype": torch.float64}
    mean = torch.randn(count, weight.shape[1], **normal) @ weight.T  # type: ignore[call-overload]
    z = mean + noise * torch.randn(mean.shape, **normal)  # type: ignore[call-overload]
    own = Independent(Normal(mean, noise), 1).log_prob(z)  # type: ignore[no-untyped-call]
    prior = Independent(Normal(torch.zeros_like(z), 1.0), 1).log_prob(z)  # type: ignore[no-untyped-call]
    spread = torch.full_like(mean, 2 * math.log(noise))
    return Latents(z, own, prior, torch.zeros(count, dtype=torch.int64), mean, spread)


@pytest.mark.parametrize("noise", [0.5, 0.02])
def test_bounds_enclose_what_is_known_of_a_linear_gaussian(noise: float) -> None:
    weight = torch.tensor([[1.0, 0.3], [0.0, 0.8], [0.5, -0.4]], dtype=torch.float64)
    covariance = weight @ weight.T + noise**2 * torch.eye(3)
    information = 0.5 * float(torch.logdet(covariance) - 3 * math.log(noise**2))
    divergence = 0.5 * float(covariance.trace() - 3 - torch.logdet(covariance))
    found = dict(
        information_metrics(
            linear(1500, weight, noise, 1), linear(5000, weight, noise, 2), None, seed=0
        )
    )
    slack = {name: 3 * found.get(f"{name}_standard_error", 0.0) for name in found}
    for name, truth in (("mutual_information", information), ("aggregate_kl", divergence)):
        lower, upper = f"{name}_lower", f"{name}_upper"
        assert found[lower] - slack[lower] < truth < found[upper] + slack[upper]
    assert found["mutual_information_limit"] == pytest.approx(math.log(1500))
    # the mixtures hold the truth, so that their side is tight, however little the images tell
    assert found["mutual_information_upper"] == pytest.approx(information, abs=0.15)
    assert found["aggregate_kl_lower"] == pytest.approx(divergence, abs=0.15)
    if noise == 0.5:
        assert found["mutual_information_lower"] == pytest.approx(information, abs=0.15)
    else:
        assert information > math.log(1500) > found["mutual_information_lower"]


@pytest.mark.parametrize(("kind", "prior"), [("vae", "normal"), ("cvae", "label")])
def test_the_parts_add_up_to_the_rate(kind: str, prior: str) -> None:
    model, images = model_of(kind, prior=prior), some(1201)
    with torch.no_grad():
        gaussian(model).to_posterior.weight.mul_(3.0)
    found = measured(model, images)
    rate = dict(elbo_metrics(model, images, seed=0))["rate"]
    rates = [value for name, value in found.items() if name.startswith("rate_latent_")]
    assert len(rates) == 3
    assert sum(rates) == pytest.approx(rate, rel=1e-5)
    for one, other in (("lower", "upper"), ("upper", "lower")):
        total = found[f"mutual_information_{one}"] + found[f"aggregate_kl_{other}"]
        assert total == pytest.approx(rate, abs=0.15)  # that is the KL with draws of z
    assert found["mutual_information_lower"] < found["mutual_information_upper"]
    assert found["mutual_information_upper"] < rate + 0.05  # the prior is one of what is tried


@pytest.mark.parametrize("kind", ["vae", "cvae"])
def test_posteriors_far_apart_know_their_image_and_equal_ones_nothing(kind: str) -> None:
    model, images = model_of(kind, prior="normal"), some(600)
    limit = math.log(600 if kind == "vae" else 300)
    with torch.no_grad():
        gaussian(model).to_posterior.weight[3:].zero_()
        gaussian(model).to_posterior.bias[3:] = -12.0
        gaussian(model).to_posterior.weight[:3].normal_(std=5.0)
    apart = measured(model, images)
    assert apart["mutual_information_lower"] == pytest.approx(limit, abs=1e-3)
    assert apart["mutual_information_limit"] == pytest.approx(limit)
    assert apart["mutual_information_upper"] > limit
    with torch.no_grad():
        gaussian(model).to_posterior.weight.zero_()
        gaussian(model).to_posterior.bias.zero_()
    alike = measured(model, images)
    assert alike["mutual_information_lower"] == pytest.approx(0.0, abs=1e-6)
    assert alike["mutual_information_upper"] == pytest.approx(0.0, abs=0.06)
    assert alike["aggregate_kl_upper"] == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("kind", ["vae", "cvae"])
def test_a_flow_is_measured_by_sampling(kind: str) -> None:
    """At first its layers are the identity, and the posterior is its base."""
    model, images = model_of(kind, prior="normal", posterior="flow"), some(60)
    told: dict[str, str] = {}
    train = split_of(some(200))
    found = dict(latent_metrics(model, images, train, 0, leave=told.__setitem__))
    assert told.keys() == {"rate_latent"}
    assert not [name for name in found if name.startswith("rate_latent")]
    gaussian(model).flow = None
    base = dict(latent_metrics(model, images, train, 0))
    for name, value in found.items():
        assert value == pytest.approx(base[name], abs=1e-4)


def test_a_flow_that_bends_has_densities_of_its_own() -> None:
    model, images = model_of("vae", prior="normal", posterior="flow"), some(40)
    flow = gaussian(model).flow
    assert flow is not None
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    found = dict(latent_metrics(model, images, split_of(some(200)), 0))
    with torch.no_grad():
        posterior = model.encode(images.stored / 255, None)
        source = NoiseSource(0, Stream.EVALUATION, 3, None, torch.device("cpu"))
        z = posterior.sample(source.draw(0, slice(0, 40)).noise)
        each = torch.stack([posterior.log_prob(one.expand(40, -1)) for one in z])
        expected = posterior.log_prob(z) - (each.logsumexp(1) - math.log(40))
    assert found["mutual_information_lower"] == pytest.approx(float(expected.mean()), abs=1e-4)


def test_a_single_image_has_no_error_and_tells_nothing() -> None:
    found = measured(model_of("vae", prior="normal"), some(1))
    assert found["mutual_information_lower"] == pytest.approx(0.0, abs=1e-6)
    assert found["mutual_information_limit"] == 0.0
    assert all(math.isfinite(value) for value in found.values())
    assert not [name for name in found if name.endswith("error")]


def test_only_what_can_be_computed_is_given() -> None:
    mixture = measured(model_of("vae", prior="mixture"), some(20))
    assert {"mutual_information_lower", "aggregate_kl_lower"} <= mixture.keys()
    assert not [name for name in mixture if name.startswith("rate_latent")]


def test_names_that_are_other_numbers_change_nothing() -> None:
    """Labels of data are places among the names, whatever numbers these are."""
    named, numbered = (model_of("cvae") for _ in range(2))
    numbered.label_names = ("3", "4")
    found = []
    for model in (named, numbered):
        torch.manual_seed(0)  # of the images
        found.append(measured(model, some(300)))
    assert found[0] == found[1]
