"""A ladder of levels: its densities, its noise, what its levels see, and which fit an image."""

# torch leaves functions untyped
# mypy: disable-error-code="no-untyped-call"

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from distvae.conditions import Context
from distvae.config import ModelConfig, ObjectiveConfig, TrainConfig
from distvae.errors import DistvaeError
from distvae.latents.ladder import Ladder
from distvae.latents.resolutions import spread
from distvae.latents.rungs import Rung, softened
from distvae.models import VAE, build_model
from distvae.networks import pyramid
from distvae.objectives import negative_elbo
from distvae.training.run import run_training
from tests.training.conftest import Settings, lines, settings, trained

__all__ = ["settings"]

NAMES = ("a", "b", "c")
BATCH, DRAWS, VECTOR, MAPS = 4, 3, 5, 2


def random_model(**changes: Any) -> VAE:
    """Of four levels, with random weights."""
    torch.manual_seed(0)
    usual = {"network": "conv", "width": 0.1, "levels": 4, "level_maps": MAPS, "latent_dim": VECTOR}
    config = ModelConfig(**{**usual, "latent_space": "ladder", **changes})
    model = build_model(config, (1, 16, 16), NAMES).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model.requires_grad_(False)


def space_of(model: VAE) -> Ladder:
    assert isinstance(model.latents, Ladder)
    return model.latents


def given(model: VAE, rows: int) -> tuple[Tensor, Context | None]:
    images = torch.rand(rows, 1, 16, 16)
    context = Context.of_label(torch.arange(rows) % len(NAMES)) if model.conditional else None
    return images, context


@pytest.mark.parametrize(
    "changes", [{}, {"model": "vae"}, {"network": "resnet", "conditioning": "concat"}]
)
def test_levels_are_drawn_and_priced_as_their_gaussians_say(changes: dict[str, Any]) -> None:
    model = random_model(**changes)
    space, (images, context) = space_of(model), given(model, BATCH)
    features = model.features(images, context)
    noise = torch.randn(BATCH, DRAWS, space.infer_dim)
    found = space.infer(features, noise, context, DRAWS, densities=True)
    assert [draw.level for draw in found] == ["z1", "z2", "z3", "z4"]
    shapes = [(VECTOR,), (MAPS, 4, 4), (MAPS, 4, 4), (MAPS, 8, 8)]
    assert [level.shape for level in space.levels] == shapes
    rows = None if context is None else context.repeated(DRAWS)
    at, stream = VECTOR, space.stem(found[0].rows, rows)
    for number, draw in enumerate(found[1:]):
        rung = space.rungs[number]
        assert isinstance(rung, Rung)
        stream = space.ascents[number](stream)
        p = normal(rung.to_prior, rung, rung.of_prior, stream, rows)
        seen = rung.from_features(features[space.sources[number]]).repeat_interleave(DRAWS, 0)
        seen = seen + rung.from_stream(rung.activation(rung.norm(stream)))
        seen = rung.activation(rung.of_posterior(seen, rows))
        q = head(rung.to_posterior, rung, seen, rows)
        part = noise[..., at : at + math.prod(draw.z.shape[2:])].flatten(0, 1)
        at += part.shape[1]
        torch.testing.assert_close(draw.rows, q.mean + q.stddev * part.view_as(draw.rows))
        rate = kl_divergence(q, p).sum((2, 3)).view(BATCH, DRAWS, MAPS).mean(1)
        torch.testing.assert_close(draw.rate, rate, rtol=1e-4, atol=1e-4)
        for density, gaussian in ((draw.log_p, p), (draw.log_q, q)):
            expected = gaussian.log_prob(draw.rows).flatten(1).sum(1).view(BATCH, DRAWS)
            torch.testing.assert_close(density, expected, rtol=1e-4, atol=1e-3)
        stream = rung.onward(stream, draw.rows, rows)
    assert found[-1].state is not None
    torch.testing.assert_close(found[-1].state, stream)
    torch.testing.assert_close(space.state(tuple(draw.rows for draw in found), rows), stream)
    # one draw is the same as several, row by row
    for place in range(DRAWS):
        single = space.infer(features, noise[:, place], context)
        for draw, one in zip(found, single, strict=True):
            torch.testing.assert_close(draw.z[:, place], one.z)


def head(layer: Any, rung: Rung, seen: Tensor, context: Context | None) -> Normal:
    if rung.concatenated.width:
        assert context is not None
        hot = torch.nn.functional.one_hot(context.label, len(NAMES)).float()
        seen = torch.cat([seen, hot[:, :, None, None].expand(-1, -1, *seen.shape[2:])], 1)
    mean, raw = layer(seen).chunk(2, 1)
    return Normal(mean, torch.log2(1.0 + 2.0**raw))  # softplus with beta = ln 2


def normal(
    layer: Any, rung: Rung, modulation: Any, stream: Tensor, context: Context | None
) -> Normal:
    return head(layer, rung, rung.activation(modulation(rung.norm(stream), context)), context)


def test_noise_is_drawn_and_found_again() -> None:
    for prior in ("label", "normal", "flow"):
        model = random_model(prior=prior).double()
        space, (_, context) = space_of(model), given(model, BATCH)
        noise = torch.randn(BATCH, space.noise_dim, dtype=torch.float64)
        latents = space.draw(noise, context)
        torch.testing.assert_close(space.whiten(latents, context), noise)
    mixture = random_model(prior="mixture", model="vae").double()
    space = space_of(mixture)
    assert not space.invertible
    noise = torch.randn(BATCH, space.noise_dim, dtype=torch.float64)
    latents = space.draw(noise, None)
    again = space.draw(space.noise_for(latents, None), None)
    for expected, found in zip(latents, again, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def test_the_label_changes_every_level() -> None:
    model = random_model()
    space = space_of(model)
    images, context = given(model, len(NAMES))
    same = images[:1].expand_as(images)
    for posterior in space.posteriors(model.features(same, context), context):
        assert (posterior.mean[0] - posterior.mean[1]).abs().max() > 1e-3
    noise = torch.zeros(len(NAMES), space.noise_dim)
    for level in space.draw(noise, context):
        assert (level[0] - level[1]).abs().max() > 1e-3


def test_deviations_stay_within_bounds() -> None:
    raw = torch.tensor([-1e6, -14.0, 0.0, 1.0, 1e6]).view(1, 5, 1, 1)
    found = softened(torch.cat([raw, raw], 1)).log_variance.flatten() / 2
    expected = torch.log2(1.0 + 2.0 ** raw.flatten().double().clamp(-14, 14)).log()
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-4)


def test_levels_are_spread_over_the_resolutions() -> None:
    config = ModelConfig()
    assert spread(6, pyramid.pyramid(config, 28, 28)) == [3, 2]
    assert spread(3, pyramid.pyramid(config, 28, 28)) == [1, 1]
    assert spread(12, pyramid.pyramid(config, 64, 64)) == [3, 3, 3, 2]


@pytest.mark.parametrize(
    ("side", "changes", "message"),
    [
        (64, {"levels": 4}, r"--levels 4 .*4 resolutions .*5 to 12.*--image-size of at most 56"),
        (4, {"levels": 12}, r"--levels 12 .*2 x 2 places.*at least 7 pixels"),
        (2, {}, r"--levels 6 .*1 x 1 places.*at least 5 pixels"),
        (28, {"levels": 2}, r"--levels 2 .*from 3 to 12"),
        (28, {"levels": 13}, r"--levels 13 .*from 3 to 12"),
        (28, {"levels": 5, "likelihood": "categorical"}, r"--levels 5 .*grey levels"),
        (28, {"network": "mlp"}, r"--network mlp gives no maps"),
    ],
)
def test_levels_that_do_not_fit_are_refused_with_what_does(
    side: int, changes: dict[str, Any], message: str
) -> None:
    settings = {"network": "conv", "width": 0.1, "latent_space": "ladder", **changes}
    with pytest.raises(DistvaeError, match=message):
        build_model(ModelConfig(**settings), (1, side, side), NAMES)


def test_the_sides_that_are_named_do_fit() -> None:
    def fits(side: int, levels: int) -> None:
        config = ModelConfig(network="conv", width=0.03, latent_space="ladder", levels=levels)
        assert len(build_model(config, (1, side, side), NAMES).latents.levels) == levels

    fits(56, 4)
    fits(7, 12)
    fits(5, 6)
    fits(224, 6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"network": "mlp"}, r"--latent-space ladder.*--network mlp.*conv, resnet"),
        ({"prior": "vamp"}, r"--latent-space ladder.*--prior vamp.*normal"),
        ({"posterior": "flow"}, r"--latent-space ladder.*--posterior flow"),
        ({"objective": "dreg"}, r"dreg.*--latent-space ladder"),
        ({"latent_space": "gaussian", "levels": 6}, r"--levels 6.*ladder.*categorical"),
    ],
)
def test_parts_that_do_not_go_with_a_ladder(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DistvaeError, match=message):
        TrainConfig().updated({"latent_space": "ladder", **changes}, "the test")


def test_a_ladder_takes_a_network_of_maps() -> None:
    config = TrainConfig().updated({"latent_space": "ladder"}, "the test")
    assert config.fitted(60_000, 28, 10).model.network == "conv"
    assert config.fitted(100, 28, 10).model.prior == "label"


def test_levels_are_balanced_while_the_kl_weight_rises() -> None:
    model = random_model(model="vae")
    images, _ = given(model, BATCH)
    terms = model.terms_of(images, None, torch.randn(BATCH, model.latents.infer_dim))
    config = ObjectiveConfig(beta=1.0, kl_balance=True, kl_warmup_epochs=2.0)
    rates = torch.stack([draw.rate.sum(1).mean() for draw in terms.draws])
    distortion = -terms.log_likelihood.mean()
    half = negative_elbo(terms, 0.5, config, 1).loss
    torch.testing.assert_close(half, distortion + 0.5 * (rates**2).sum() / rates.mean())
    whole = negative_elbo(terms, torch.tensor(1.0), config, 1).loss
    torch.testing.assert_close(whole, distortion + rates.sum())
    for changes in ({"latent_space": "gaussian"}, {"kl_warmup_epochs": 0.0}, {"accumulate": 2}):
        settings = {"latent_space": "ladder", "kl_balance": True, "kl_warmup_epochs": 1.0}
        with pytest.raises(DistvaeError, match="--kl-balance") as refused:
            TrainConfig().updated({**settings, **changes}, "the test")
        if "kl_warmup_epochs" in changes:
            assert "take --kl-warmup-epochs of more than 0 or leave" in str(refused.value)


@pytest.mark.slow
def test_a_run_of_a_ladder(settings: Settings, here: Path) -> None:
    changes = {"latent_space": "ladder", "network": "conv", "width": 0.1, "hidden": None}
    changes |= {"levels": 3, "level_maps": 1, "latent_dim": 3, "schedule": "constant"}
    changes |= {"kl_warmup_epochs": 1.0, "kl_balance": True, "skip_above": 20.0, "max_steps": 60}
    run = trained(settings(**changes, learning_rate=0.01), here / "run")
    before, *_, after = lines(run, "test")
    assert after["elbo"] > before["elbo"]
    for line in (after, lines(run)[0]):
        parts = sum(line[f"rate_level_z{number}"] for number in (1, 2, 3))
        assert parts == pytest.approx(line["rate"], rel=1e-4)
    longer = settings(**{**changes, "max_steps": 64}, learning_rate=0.01)
    assert run_training(longer, run, resume=True).finished
    whole = trained(longer, here / "whole")
    expected, found = (load_file(each / "model.safetensors") for each in (whole, run))
    assert all(torch.equal(found[name], value) for name, value in expected.items())
