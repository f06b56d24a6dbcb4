"""Gaussian latents at every place of an image, and a network for images of any size."""

# torch leaves functions untyped
# mypy: disable-error-code="no-untyped-call"

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from distvae.conditions import Context
from distvae.config import ModelConfig, TrainConfig
from distvae.domains.volumes import Volumes
from distvae.errors import DistvaeError
from distvae.latents.spatial import Spatial
from distvae.models import VAE, build_model
from distvae.networks.layers import ImageNorm
from distvae.prior_remark import prior_remark
from distvae.training.run import run_training
from tests.training.conftest import Settings, lines, settings, trained

__all__ = ["settings"]

NAMES = ("a", "b")
BATCH, DRAWS, MAPS = 3, 4, 2


def random_model(side: int = 16, **changes: Any) -> VAE:
    torch.manual_seed(0)
    usual = {"latent_space": "spatial", "latent_channels": MAPS, "downscale": 4, "width": 0.1}
    config = ModelConfig(**{**usual, "likelihood": "gaussian", **changes})
    model = build_model(config, (3, side, side), NAMES).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model.requires_grad_(False)


def space_of(model: VAE) -> Spatial:
    assert isinstance(model.latents, Spatial)
    return model.latents


@pytest.mark.parametrize("changes", [{"model": "vae"}, {"attention": True}, {"downscale": 8}])
def test_latents_are_drawn_and_priced_as_their_gaussian_says(changes: dict[str, Any]) -> None:
    model = random_model(**changes)
    space, side = space_of(model), 16 // changes.get("downscale", 4)
    assert model.config.network == "fcn"
    assert space.levels[0].shape == (MAPS, side, side)
    images = torch.rand(BATCH, 3, 16, 16)
    context = Context.of_label(torch.tensor([0, 1, 1])) if model.conditional else None
    noise = torch.randn(BATCH, DRAWS, space.infer_dim)
    terms = model.terms_of(images, context, noise, DRAWS, densities=True)
    mean, log_variance = space.to_posterior(model.features(images, context)[-1]).chunk(2, 1)
    q, p = Normal(mean, (0.5 * log_variance).exp()), Normal(0.0, 1.0)
    z = q.mean.unsqueeze(1) + q.stddev.unsqueeze(1) * noise.unflatten(2, mean.shape[1:])
    (draw,) = terms.draws
    torch.testing.assert_close(draw.z, z)
    torch.testing.assert_close(draw.rate, kl_divergence(q, p).sum((2, 3)), rtol=1e-4, atol=1e-5)
    of_draws = Normal(q.mean.unsqueeze(1), q.stddev.unsqueeze(1)).log_prob(z)
    torch.testing.assert_close(draw.log_q, of_draws.sum((2, 3, 4)), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(draw.log_p, p.log_prob(z).sum((2, 3, 4)), rtol=1e-4, atol=1e-4)
    single = model.terms_of(images, context, noise[:, 1], densities=True)
    torch.testing.assert_close(single.draws[0].z, draw.z[:, 1])
    torch.testing.assert_close(
        single.log_likelihood, terms.log_likelihood[:, 1], rtol=1e-4, atol=1e-2
    )
    rows = draw.rows[:BATCH]
    torch.testing.assert_close(space.draw(space.whiten((rows,), context), context)[0], rows)
    if model.conditional:
        other = Context.of_label(torch.tensor([1, 0, 0]))
        assert not torch.allclose(model.render((rows,), context), model.render((rows,), other))


def test_reach_is_how_far_networks_see() -> None:
    model, factor = random_model(96, model="vae").double(), 4
    images = torch.rand(1, 3, 96, 96, dtype=torch.float64)
    reach = model.encoder.reach
    assert reach is not None
    seen = gradient_of(lambda given: model.features(given, None)[-1][0, :, 12, 12], images)
    first, end = touched(seen)
    assert first == 48 - reach
    assert 48 + reach <= end <= 48 + factor + reach
    latents = torch.randn(1, MAPS, 40, 40, dtype=torch.float64)
    reach = model.decoder.reach
    assert reach is not None
    seen = gradient_of(lambda given: model.decoder(given, None)[0, :, 80:84, 80:84], latents)
    first, end = touched(seen)
    assert 80 - reach - factor < factor * first <= 80 - reach + factor
    assert 84 + reach - factor <= factor * end < 84 + reach + factor
    everywhere = random_model(attention=True)
    assert (everywhere.encoder.reach, everywhere.decoder.reach) == (None, None)


def gradient_of(function: Any, given: Tensor) -> Tensor:
    given = given.requires_grad_()
    function(given).square().sum().backward()
    assert given.grad is not None
    return given.grad


def touched(gradient: Tensor) -> tuple[int, int]:
    """First and end of the rows, which are also the columns, with a gradient."""
    sums = gradient.abs().sum((0, 1))
    rows, columns = sums.sum(1).nonzero().flatten(), sums.sum(0).nonzero().flatten()
    assert torch.equal(rows, columns)
    return int(rows[0]), int(rows[-1]) + 1


def test_a_part_of_an_image_is_what_it_is_in_the_whole() -> None:
    model = random_model(model="vae")
    latents = torch.randn(1, MAPS, 30, 24)
    whole = model.render((latents,))
    assert whole.shape == (1, 3, 120, 96)
    places = -(-(model.decoder.reach or 0) // 4)
    tile = model.render((latents[:, :, : 12 + places],))
    torch.testing.assert_close(tile[:, :, :48], whole[:, :, :48], rtol=0.0, atol=1e-5)


@pytest.mark.parametrize(
    ("shape", "changes", "message"),
    [
        ((3, 20, 16), {"downscale": 8}, r"20 x 16.*--downscale 8.*multiples of 8.*16"),
        ((1, 28, 28), {"downscale": None}, r"28 x 28.*--downscale 8.*--image-size 24 or 32"),
        ((1, 5, 5), {"downscale": 16}, r"5 x 5.*--downscale 16.*--image-size 16,"),
    ],
)
def test_sides_that_do_not_fit_are_refused_with_those_that_do(
    shape: tuple[int, int, int], changes: dict[str, Any], message: str
) -> None:
    config = ModelConfig(latent_space="spatial", width=0.1, **changes)
    with pytest.raises(DistvaeError, match=message):
        build_model(config, shape, NAMES)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"network": "mlp"}, r"--latent-space spatial.*--network mlp.*fcn"),
        ({"prior": "vamp"}, r"--latent-space spatial.*--prior vamp.*normal"),
        ({"posterior": "flow"}, r"--latent-space spatial.*--posterior flow"),
        ({"latent_space": "gaussian", "network": "fcn"}, r"--network fcn.*spatial"),
        ({"latent_space": "gaussian", "latent_channels": 4}, r"--latent-channels 4.*spatial"),
        ({"latent_space": "fsq", "latent_channels": 4}, r"--latent-channels 4.*spatial"),
        ({"network": "conv", "latent_space": "fsq", "downscale": 8}, r"--downscale 8.*fcn"),
        ({"network": "sd", "conditioning": "concat"}, r"--network sd.*--conditioning concat"),
        ({"network": "sd", "latent_space": "fsq"}, r"--network sd.*--latent-space fsq"),
        ({"downscale": 5}, r"downscale is 5.*4, 8, 16"),
        ({"domain": "vectors"}, r"--domain vectors"),
    ],
)
def test_parts_that_do_not_go_with_places(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DistvaeError, match=message):
        TrainConfig().updated({"latent_space": "spatial", **changes}, "the test")


def test_network_and_prior_that_were_left_out_fit() -> None:
    for count in (100, 60_000):
        config = TrainConfig().updated({"latent_space": "spatial", "downscale": 8}, "the test")
        fitted = config.fitted(count, 64, 10).model
        assert (fitted.network, fitted.prior) == ("fcn", "normal")


def test_gradient_checkpointing_changes_no_bit() -> None:
    found = []
    for checkpointing in (False, True):
        model = random_model(gradient_checkpointing=checkpointing).requires_grad_().train()
        noise = torch.randn(BATCH, model.latents.infer_dim, generator=torch.manual_seed(1))
        images = torch.rand(BATCH, 3, 16, 16, generator=torch.manual_seed(2))
        terms = model(images, [0, 1, 0], noise)
        (terms.rate.sum() - terms.log_likelihood.sum()).backward()
        found.append([parameter.grad for parameter in model.parameters()])
    for one, other in zip(*found, strict=True):
        assert one is not None
        assert torch.equal(one, other)


def test_norms_are_taken_in_float32() -> None:
    features = (100.0 + torch.randn(2, 64, 3, 3)).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        found = ImageNorm()(features)
    assert found.dtype == torch.bfloat16
    exact = features.double()
    spread = exact.var(1, correction=0, keepdim=True).sqrt()
    expected = (exact - exact.mean(1, keepdim=True)) / spread
    torch.testing.assert_close(found.double(), expected, rtol=2**-8, atol=1e-3)


@pytest.mark.slow
def test_a_run_with_places_goes_on_byte_for_byte(settings: Settings, here: Path) -> None:
    changes: dict[str, Any] = {
        "latent_space": "spatial", "latent_channels": 2, "downscale": 4, "width": 0.1,
        "network": None, "hidden": None, "likelihood": "laplace", "beta": 0.01,
        "schedule": "constant", "prior": None, "gradient_checkpointing": True,
    }  # fmt: skip
    run = trained(settings(**changes, max_steps=40), here / "run")
    before, *_, after = lines(run, "test")
    assert after["elbo"] > before["elbo"]
    longer = settings(**changes, max_steps=44)
    assert run_training(longer, run, resume=True).finished
    whole = trained(longer, here / "whole")
    expected, found = (load_file(each / "model.safetensors") for each in (whole, run))
    assert expected.keys() == found.keys()
    for one, other in itertools.zip_longest(expected.values(), found.values()):
        assert torch.equal(one, other)


def test_samples_of_a_tiny_kl_weight_are_told_to_be_noise() -> None:
    settings = {"latent_space": "spatial", "beta": 1e-6}
    assert "KL weight of this model is 1e-06" in prior_remark(settings)
    for changes in ({"beta": 1.0}, {"beta": None}, {"latent_space": "gaussian"}):
        assert prior_remark({**settings, **changes}) == ""


def test_places_of_volumes_are_priced_as_those_of_images() -> None:
    torch.manual_seed(0)
    settings: dict[str, Any] = {
        "model": "vae", "latent_space": "spatial", "latent_channels": MAPS, "width": 0.1,
        "network": "fcn", "attention": True, "likelihood": "laplace",
    }  # fmt: skip
    for downscale in (2, 4):
        config = ModelConfig(**settings, downscale=downscale)
        model = build_model(config, Volumes((1, 4, 8, 8)), ())
        volumes = torch.rand(BATCH, 1, 4, 8, 8)
        noise = torch.randn(BATCH, DRAWS, model.latents.infer_dim)
        (draw,) = model.terms_of(volumes, None, noise, DRAWS, densities=True).draws
        assert draw.z.shape == (BATCH, DRAWS, MAPS, *(side // downscale for side in (4, 8, 8)))
        (q,) = model.posteriors(volumes)
        normal = Normal(q.mean, (0.5 * q.log_variance).exp())
        expected = kl_divergence(normal, Normal(0.0, 1.0)).flatten(2).sum(2)
        torch.testing.assert_close(draw.rate, expected, rtol=1e-4, atol=1e-5)
        log_q = normal.log_prob(draw.z.transpose(0, 1)).flatten(2).sum(2).T
        torch.testing.assert_close(draw.log_q, log_q, rtol=1e-4, atol=1e-3)
        assert model.render((draw.z[:, 0],)).shape == volumes.shape
    with pytest.raises(DistvaeError, match=r"4 x 6 x 8.*--downscale 4.*--patch 4,"):
        build_model(config, Volumes((1, 4, 6, 8)), ())
