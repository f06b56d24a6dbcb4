"""The contract of latent spaces, held by two that the package does not know."""

# torch leaves functions untyped
# mypy: disable-error-code="no-untyped-call"

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.distributions import Normal

from distvae.batch import Batch
from distvae.conditions import Conditions, ContextShape
from distvae.config import ModelConfig, ObjectiveConfig
from distvae.data.batches import ResidentImages
from distvae.declarations import declared
from distvae.draws.normals import standard_normal
from distvae.errors import DistvaeError
from distvae.evaluation.elbo import elbo_metrics
from distvae.evaluation.likelihood import log_likelihood
from distvae.evaluation.metrics.latents import one_vector
from distvae.figures import rows_of
from distvae.latents import LATENTS, only_vector
from distvae.models import VAE, build_model, load_model
from distvae.networks.conv import ConvDecoder
from distvae.objectives import OBJECTIVES, Pressure, RunFacts
from distvae.parts import ONE_LEVEL
from distvae.training.judging import collapse
from distvae.training.run import run_training
from tests.spaces import TOP, Maps, TwoLevels
from tests.training.conftest import Settings, lines, settings, trained

__all__ = ["settings"]

SIDE, LATENTS_BELOW = 4, 3
SOME_DATA: Any = None


@pytest.fixture(autouse=True)
def two_levels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(LATENTS, "gaussian", TwoLevels)


def a_model() -> VAE:
    torch.manual_seed(0)
    config = ModelConfig(model="vae", prior="normal", hidden=(8,), latent_dim=LATENTS_BELOW)
    return build_model(config, (1, SIDE, SIDE), ()).eval()


def some(count: int) -> ResidentImages:
    grey = torch.randint(0, 256, (count, 1, SIDE, SIDE), dtype=torch.uint8)
    return ResidentImages(grey, None, torch.device("cpu"))


def objective(name: str, draws: int = 1) -> Any:
    config = ObjectiveConfig(name, importance_samples=draws).resolved()
    levels = TwoLevels(ModelConfig(latent_dim=LATENTS_BELOW), ((8,),), None, None).levels  # type: ignore[arg-type]
    size = TOP + LATENTS_BELOW
    return OBJECTIVES[name](RunFacts(config, levels, size, size, SIDE**2, 100))


@torch.no_grad()
def by_hand(model: VAE, images: Tensor, noise: Tensor) -> Tensor:
    """Log p(x, z) - log q(z|x) of both levels ``[B]``, for noise ``[B, N]``."""
    space = model.latents
    assert isinstance(space, TwoLevels)
    (features,) = model.encoder(images, None)
    upper, rest = noise[:, :TOP], noise[:, TOP:]
    mean, log_variance = space.upper(features).chunk(2, 1)
    z2 = mean + (0.5 * log_variance).exp() * upper
    found: Tensor = Normal(0.0, 1.0).log_prob(z2).sum(1)
    found -= Normal(mean, (0.5 * log_variance).exp()).log_prob(z2).sum(1)
    mean, log_variance = space.lower(torch.cat([features, z2], 1)).chunk(2, 1)
    z1 = mean + (0.5 * log_variance).exp() * rest
    found -= Normal(mean, (0.5 * log_variance).exp()).log_prob(z1).sum(1)
    mean, log_variance = space.conditional(z2).chunk(2, 1)
    found += Normal(mean, (0.5 * log_variance).exp()).log_prob(z1).sum(1)
    found += model.likelihood.log_prob(images, model.decoder(z1, None))
    return found


def test_objectives_take_every_level() -> None:
    model, count, draws = a_model(), 6, 5
    stored = some(count).stored
    images, size = stored / 255.0, TOP + LATENTS_BELOW
    noise = torch.randn(count, draws, size)
    weights = torch.stack([by_hand(model, images, noise[:, k]) for k in range(draws)], 1)
    found = objective("iwae", draws)(model, Batch(stored, None, noise, None), Pressure(1.0, 0.0))
    expected = (weights.logsumexp(1) - math.log(draws)).mean()
    torch.testing.assert_close(found.loss, -expected)
    # many draws of the bound agree with the sum of its levels' closed forms
    many = torch.randn(count, 1000, size)
    bound = objective("elbo", 1000)(model, Batch(stored, None, many, None), Pressure(1.0, 0.0))
    each = torch.stack([by_hand(model, images, many[:, k]) for k in range(1000)], 1)
    error = float(each.std(1).max()) / math.sqrt(1000)
    assert (bound.distortion + bound.rate + each.mean(1)).abs().max() < 5 * error
    parts = [bound.extras[f"rate_level_{name}"] for name in ("z2", "z1")]
    torch.testing.assert_close(sum(parts), bound.rate.mean())
    assert all(part > 0 for part in parts)
    pairs = torch.randn(count, 2, size)
    for name in ("dreg", "beta_tc", "factor", "dip_i", "mmd"):
        batch = Batch(stored, None, pairs if name in ("dreg", "mmd") else pairs[:, 0], None)
        with pytest.raises(DistvaeError, match="this objective is for latents of one level"):
            objective(name, 2 if name == "dreg" else 1)(model, batch, Pressure(1.0, 0.0))
        assert ONE_LEVEL in declared("objective")[name].part.needs


def test_an_evaluation_speaks_of_levels() -> None:
    model, images = a_model(), some(200)
    found = dict(elbo_metrics(model, images, seed=3))
    drawn = log_likelihood(model, images, 3, 400).log_likelihood.mean()
    assert found["elbo"] < drawn < found["elbo"] + found["rate"]
    assert found["rate_level_z2"] + found["rate_level_z1"] == pytest.approx(found["rate"])
    with torch.no_grad():
        codes = torch.cat(model.means(images.stored / 255.0), 1)
    active = (codes.var(0) > 0.01).long()
    assert found["active_units_level_z2"] == active[:TOP].sum()
    rows = dict(rows_of(found))
    assert rows["active latents, level z2"] == f"{found['active_units_level_z2']:g}"
    assert "nats: z1 0.01. Remedies" in str(
        collapse({**found, "rate_level_z2": 1.0, "rate_level_z1": 0.01})
    )
    assert collapse({**found, "rate_level_z2": 0.2, "rate_level_z1": 0.2}) is None
    assert "only 2 of 5 latents" in str(collapse({"active_units": 2.0, "latent_dim": 5.0}))
    assert collapse({"active_units": 3.0, "latent_dim": 5.0}) is None


def test_noise_is_drawn_and_found_again() -> None:
    model = a_model()
    noise = torch.randn(6, TOP + LATENTS_BELOW)
    with torch.no_grad():
        latents = model.latents.draw(noise, None)
        torch.testing.assert_close(model.latents.whiten(latents, None), noise)
        torch.testing.assert_close(
            model.render(latents), model.likelihood.mean(model.decoder(latents[1], None))
        )


def test_levels_are_encoded_and_decoded_by_name() -> None:
    model, images = a_model(), some(3).stored / 255.0
    with torch.no_grad():
        means = {name: one.mean for name, one in model.encode_levels(images).items()}
        assert {name: mean.shape for name, mean in means.items()} == {"z2": (3, 2), "z1": (3, 3)}
        drawn = model.decode(means)
        torch.testing.assert_close(drawn, model.render(model.means(images)))
    with pytest.raises(DistvaeError, match=r"z is of z1.*levels z2, z1.*Give z=\{'z2': \.\.\., "):
        model.decode({"z1": means["z1"]})
    with pytest.raises(DistvaeError, match=r"z\['z1'\] has shape \[2, 3\].*expected \[3, 3\]"):
        model.decode({**means, "z1": means["z1"][:2]})


@pytest.mark.parametrize(
    "ask",
    [
        lambda model: model.encode(torch.zeros(1, 1, SIDE, SIDE)),
        lambda model: model.decode(torch.zeros(1, LATENTS_BELOW)),
        lambda model: one_vector("latents", model, SOME_DATA),
    ],
)
def test_what_takes_one_level_is_refused(ask: Callable[[Any], object]) -> None:
    with pytest.raises(DistvaeError, match=r"one level|the levels z2, z1|one vector of.*z2, z1"):
        ask(a_model())


@pytest.mark.parametrize("network", ["conv", "resnet"])
@pytest.mark.parametrize("conditioning", ["modulate", "concat"])
def test_maps_of_latents_go_from_a_pyramid_to_a_decoder(
    network: Any, conditioning: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(LATENTS, "gaussian", Maps)
    torch.manual_seed(0)
    config = ModelConfig(network=network, width=0.1, conditioning=conditioning, start="zeros")
    model = build_model(config, (1, 16, 16), ("dark", "bright"))
    assert [shape[1:] for shape in model.encoder.shapes] == [(8, 8), (4, 4)]
    assert model.latents.levels[0].shape == (2, 4, 4)
    labels = torch.arange(20) % 2
    stored = (255 * labels).view(-1, 1, 1, 1).expand(-1, 1, 16, 16).to(torch.uint8)
    facts = RunFacts(ObjectiveConfig().resolved(), model.latents.levels, 32, 32, 256, 20)
    loss_of, optimizer = OBJECTIVES["elbo"](facts), torch.optim.Adam(model.parameters(), 0.01)
    losses = []
    for _ in range(25):
        batch = Batch(stored, Conditions.of_labels(labels), torch.randn(20, 32), None)
        found = loss_of(model, batch, Pressure(0.1, 0.0))
        optimizer.zero_grad()
        found.loss.backward()
        assert all(weight.grad is not None for weight in model.parameters())
        optimizer.step()
        losses.append(found.loss.item())
    assert losses[-1] < 0.5 * losses[0]
    terms = model.terms(batch)
    assert (terms.rate.shape, terms.draws[0].z.shape) == ((20, 2), (20, 2, 4, 4))
    inputs, context = model.inputs_of(batch), model.conditioner(batch.conditions)
    seen = model.render(model.means(inputs, context), context).flatten(1).mean(1)
    assert seen[labels == 0].max() < 0.2 < 0.8 < seen[labels == 1].min()
    assert model.sample("dark", n=3).shape == (3, 1, 16, 16)
    codes = model.encode(inputs, labels).mean
    torch.testing.assert_close(model.decode(codes, labels), model.render((codes,), context))
    with pytest.raises(DistvaeError, match="distvae fit-prior is for latents that are one vector"):
        only_vector(model.latents.levels, "distvae fit-prior")


def test_maps_of_another_size_than_the_decoder_has_are_refused() -> None:
    config = ModelConfig(network="conv", width=0.1)
    with pytest.raises(DistvaeError, match=r"latents of 3 x 4 .*8 x 8, 4 x 4"):
        ConvDecoder(config, (1, 16, 16), ContextShape(), 1, (2, 3, 4))


@pytest.mark.slow
def test_a_run_of_two_levels(settings: Settings, here: Path) -> None:
    changes = {"model": "vae", "prior": "normal", "latent_dim": LATENTS_BELOW}
    changes |= {
        "start": "zeros",
        "schedule": "constant",
        "warmup_epochs": 0.0,
        "learning_rate": 0.01,
        "max_steps": 60,
    }
    run = trained(settings(**changes), here / "run")
    before, *_, after = lines(run, "test")
    assert after["elbo"] > before["elbo"] + 1.0
    for line in (before, after, lines(run)[0]):
        assert line["rate_level_z2"] + line["rate_level_z1"] == pytest.approx(line["rate"])
    assert list((run / "samples").glob("reconstructions-*.png"))
    names = {name for name in load_file(run / "model.safetensors") if name.startswith("latents")}
    parts = ("upper", "lower", "conditional")
    assert names == {f"latents.{part}.{kind}" for part in parts for kind in ("weight", "bias")}
    model = load_model(run)
    noise = torch.from_numpy(standard_normal(1, 0, 3, model.latents.noise_dim))
    with torch.no_grad():
        torch.testing.assert_close(
            model.sample(n=3, seed=1), model.render(model.latents.draw(noise, None))
        )
    longer = settings(**{**changes, "max_steps": 64})
    assert run_training(longer, run, resume=True).finished
    whole = trained(longer, here / "whole")
    expected, found = (load_file(each / "model.safetensors") for each in (whole, run))
    assert all(torch.equal(found[name], value) for name, value in expected.items())
    weighed = settings(**changes, objective="iwae", importance_samples=3)
    before, *_, after = lines(trained(weighed, here / "weighed"), "test")
    assert after["elbo"] > before["elbo"] + 1.0
