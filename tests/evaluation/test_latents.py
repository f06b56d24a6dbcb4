"""The parts of the rate, against densities of torch.distributions and known extremes."""

import dataclasses
import math

import pytest
import torch
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from distvae.config import ModelConfig
from distvae.data.batches import ResidentImages
from distvae.evaluation.elbo import elbo_metrics
from distvae.evaluation.latents import latent_metrics, log_aggregate
from distvae.models import VAE, build_model

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


@pytest.mark.parametrize(("kind", "prior"), [("vae", "normal"), ("cvae", "label")])
def test_the_parts_add_up_to_the_rate(kind: str, prior: str) -> None:
    model, images = model_of(kind, prior=prior), some(1201)
    with torch.no_grad():
        model.to_posterior.weight.mul_(3.0)
    found = dict(latent_metrics(model, images, "none", seed=0))
    rate = dict(elbo_metrics(model, images, "none", seed=0))["rate"]
    rates = [value for name, value in found.items() if name.startswith("rate_latent_")]
    assert len(rates) == 3
    assert sum(rates) == pytest.approx(rate, rel=1e-5)
    total = found["mutual_information"] + found["aggregate_kl"]
    assert total == pytest.approx(rate, abs=0.15)  # that is the KL with draws of z


@pytest.mark.parametrize("kind", ["vae", "cvae"])
def test_posteriors_far_apart_know_their_image_and_equal_ones_nothing(kind: str) -> None:
    model, images = model_of(kind, prior="normal"), some(600)
    limit = math.log(600 if kind == "vae" else 300)
    with torch.no_grad():
        model.to_posterior.weight[3:].zero_()
        model.to_posterior.bias[3:] = -12.0
        model.to_posterior.weight[:3].normal_(std=5.0)
    apart = dict(latent_metrics(model, images, "none", seed=0))
    assert apart["mutual_information"] == pytest.approx(limit, abs=1e-3)
    assert apart["mutual_information_limit"] == pytest.approx(limit)
    with torch.no_grad():
        model.to_posterior.weight.zero_()
        model.to_posterior.bias.zero_()
    alike = dict(latent_metrics(model, images, "none", seed=0))
    assert alike["mutual_information"] == pytest.approx(0.0, abs=1e-6)
    assert alike["aggregate_kl"] == pytest.approx(0.0, abs=1e-6)


def test_only_what_can_be_computed_is_given() -> None:
    flow = dict(
        latent_metrics(model_of("vae", prior="normal", posterior="flow"), some(20), "none", seed=0)
    )
    assert flow == {}
    mixture = dict(latent_metrics(model_of("vae", prior="mixture"), some(20), "none", seed=0))
    assert {"mutual_information", "aggregate_kl"} <= mixture.keys()
    assert not [name for name in mixture if name.startswith("rate_latent")]
