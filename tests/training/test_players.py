"""Players: whose turn it is, at which rate, and a step of two against two plain optimizers."""

# torch leaves functions untyped
# mypy: disable-error-code="no-untyped-call"

import copy
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.numpy import load_file
from torch import Tensor, nn

from distvae.batch import Batch
from distvae.config import OptimConfig, TrainConfig
from distvae.data.store import open_data
from distvae.models import VAE
from distvae.objectives import MODEL, OBJECTIVES, Loss, Player, Pressure, RunFacts, frozen
from distvae.objectives.elbo import Elbo
from distvae.runs import checkpoints
from distvae.schedules import Part, kl_weight
from distvae.training import wrapping
from distvae.training.accelerator import build_accelerator
from distvae.training.engine import Engine, build_engine
from distvae.training.players import learning_rates, same_turns, turns
from tests.conftest import TRAIN_IMAGES
from tests.spaces import ABOUT_LABELS, gaussian
from tests.training.conftest import Settings, step_on, trained

PENALTY = 30.0
CLIP = 0.01
"""Of either: both are cut short, by different factors."""
OWN: dict[str, Any] = {
    "discriminator_learning_rate": 5e-3,
    "discriminator_schedule": "constant",
    "discriminator_betas": (0.5, 0.9),
    "discriminator_start": 2,
    "discriminator_steps": 3,
}
FACTOR: dict[str, Any] = {
    "objective": "factor",
    "discriminator": [8],
    "model": "vae",
    "prior": "normal",
    "penalty": PENALTY,
    "learning_rate": 0.01,
    "warmup_epochs": 0.0,
    "ema": 0.0,
    "max_steps": 7,
}


def test_who_takes_more_begins() -> None:
    players = {MODEL: Player(), "one": Player(steps=3), "two": Player(start=5, steps=2)}
    assert turns({MODEL: Player()}, 0) == [(MODEL,)]
    assert turns(players, 4) == [("one",), ("one",), (MODEL, "one")]
    assert turns(players, 5) == [("one",), ("one", "two"), (MODEL, "one", "two")]
    assert [same_turns(players, step) for step in (0, 4)] == [5, 1]
    assert same_turns(players, 5) > 10**9


def test_each_player_has_a_learning_rate() -> None:
    parts = (Part(0, 100, 0.02, "cosine", warmup=3.0), Part(100, 200, 0.01, "cosine"))
    players = {
        MODEL: Player(),
        "slower": Player(learning_rate=0.002),
        "steady": Player(learning_rate=0.002, schedule="constant"),
    }
    at = {step: learning_rates(players, parts, step, 0.02) for step in (0, 50, 99, 100, 150, 199)}
    for step, rates in at.items():
        assert rates[MODEL] == parts[step >= 100].learning_rate(step)
        assert rates["slower"] == pytest.approx(0.1 * rates[MODEL])
    steady = [rates["steady"] for rates in at.values()]
    assert steady == pytest.approx([0.0005, 0.002, 0.002, 0.001, 0.001, 0.001])


def built(config: TrainConfig, folder: Path) -> Engine:
    data = open_data(config.data)
    config = config.resolved(data.image_shape[0])
    return build_engine(config, data, build_accelerator(config, str(folder)))


def rows_of(engine: Engine, step: int) -> Tensor:
    size = engine.config.optim.batch
    return torch.arange(step * size, (step + 1) * size) % TRAIN_IMAGES


def cross_entropy(discriminator: nn.Module, z: Tensor) -> Tensor:
    """Of telling latents from those whose dimension j comes from the image j + 1 further on."""
    shuffled = torch.stack([z[:, j].roll(-(j + 1)) for j in range(z.shape[1])], 1)
    logits = torch.cat([discriminator(z), discriminator(shuffled)])
    real = torch.cat([torch.ones(len(z), 1), torch.zeros(len(z), 1)])
    return F.binary_cross_entropy_with_logits(logits, real)


def descend(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    """A step against the gradient of a loss for the weights of one optimizer and no others."""
    weights = optimizer.param_groups[0]["params"]
    for weight, gradient in zip(weights, torch.autograd.grad(loss, weights), strict=True):
        weight.grad = gradient
    assert nn.utils.clip_grad_norm_(weights, CLIP) > CLIP
    optimizer.step()


def step_by_hand(
    model: VAE, critic: nn.Module, optimizers: list[torch.optim.Optimizer], batch: Batch, step: int
) -> None:
    """Their turns, spelled out; the first optimizer is the model's."""
    started = step >= OWN["discriminator_start"]
    latents = model.terms(batch).draws[0].z.detach()
    for _ in range(OWN["discriminator_steps"] - 1 if started else 0):
        descend(optimizers[1], cross_entropy(critic, latents))
    terms = model.terms(batch)
    loss = (terms.rate.sum(1) - terms.log_likelihood).mean()
    if started:
        loss = loss + PENALTY * critic(terms.draws[0].z).mean()
    rival = cross_entropy(critic, terms.draws[0].z.detach())
    descend(optimizers[0], loss)
    if started:
        descend(optimizers[1], rival)


@pytest.mark.parametrize("scaled", [False, True])
def test_two_players_against_two_plain_optimizers(
    settings: Settings, here: Path, monkeypatch: pytest.MonkeyPatch, scaled: bool
) -> None:
    """Also with gradients that are scaled as for fp16, which is taken back in their step."""
    if scaled:
        monkeypatch.setattr(wrapping, "_optimizers", with_scaler)
    engine = built(settings(**FACTOR, **OWN, clip=CLIP), here)
    model = copy.deepcopy(engine.trained.model)
    critic = copy.deepcopy(engine.training.objective.get_submodule("discriminator"))
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.Adam(model.parameters()),
        torch.optim.Adam(critic.parameters(), betas=(0.5, 0.9)),
    ]
    untouched = copy.deepcopy(critic.state_dict())
    engine.wrapped.forward.train()
    for step in range(engine.total_steps):
        rows = rows_of(engine, step)
        (batch,) = engine.batches(step, rows)
        optimizers[0].param_groups[0]["lr"] = engine.parts[0].learning_rate(step)
        optimizers[1].param_groups[0]["lr"] = 5e-3
        step_by_hand(model, critic, optimizers, batch, step)
        step_on(engine, step, rows)
        found = engine.training.objective.get_submodule("discriminator").state_dict()
        moved = any((found[name] != untouched[name]).any() for name in found)
        assert moved == (step >= OWN["discriminator_start"])
        torch.testing.assert_close(found, critic.state_dict(), rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(
            engine.trained.model.state_dict(), model.state_dict(), rtol=1e-4, atol=1e-6
        )


@pytest.mark.parametrize("prior", ["label", "mixture"])
def test_a_prior_learns_faster_than_the_networks(
    settings: Settings, here: Path, prior: str
) -> None:
    """As plain AdamW has it: ten times the rate, a tenth of the decay, one norm for all."""
    changes = {"prior": prior, "ema": 0.0, "weight_decay": 0.1, "clip": CLIP, "max_steps": 4}
    engine = built(settings(**changes), here)
    model = copy.deepcopy(engine.trained.model)
    faster = list(gaussian(model).prior.parameters())
    others = [one for one in model.parameters() if not any(one is each for each in faster)]
    optimizer = torch.optim.AdamW([{"params": others}, {"params": faster}])
    objective = engine.config.objective
    engine.wrapped.forward.train()
    for step in range(engine.total_steps):
        rows = rows_of(engine, step)
        (batch,) = engine.batches(step, rows)
        rate = engine.parts[0].learning_rate(step)
        for group, factor in zip(optimizer.param_groups, (1.0, 10.0), strict=True):
            group.update(lr=factor * rate, weight_decay=0.1 / factor)
        terms = model.terms(batch)
        weight = kl_weight(objective, step, engine.steps_per_epoch)
        optimizer.zero_grad()
        (weight * terms.rate.sum(1) - terms.log_likelihood).mean().backward()
        assert nn.utils.clip_grad_norm_(model.parameters(), CLIP) > CLIP
        optimizer.step()
        step_on(engine, step, rows)
        torch.testing.assert_close(
            engine.trained.model.state_dict(), model.state_dict(), rtol=1e-4, atol=1e-6
        )


def with_scaler(training: Any, optim: OptimConfig, accelerator: Any) -> Any:
    """The optimizer of a run in fp16, whose gradients are scaled, on a CPU."""
    accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    accelerator.native_amp = True
    accelerator.state._mixed_precision = "fp16"
    return whole_optimizers(training, optim, accelerator)


whole_optimizers = wrapping._optimizers


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_each_loss_is_one_for_its_own_player_alone(
    settings: Settings, here: Path, objective: str
) -> None:
    draws = {"importance_samples": 3} if objective in ("iwae", "dreg") else {}
    model = "cvae" if objective in ABOUT_LABELS else "vae"
    config = settings(objective=objective, model=model, prior="normal", **draws)
    training = (engine := built(config, here)).training
    (batch,) = engine.batches(0, rows_of(engine, 0))
    loss = training(batch, Pressure(1.0, 0.0))
    parts = {name: list(part.parameters()) for name, part in training.parts().items()}
    assert loss.others.keys() == parts.keys() - {MODEL}
    assert sum(map(len, parts.values())) == len(list(training.parameters()))
    for name in parts:
        total = loss.total((name,))
        for other, weights in parts.items():
            found = torch.autograd.grad(total, weights, retain_graph=True, allow_unused=True)
            assert all((gradient is not None) == (name == other) for gradient in found)


def test_a_player_as_the_run_has_it_is_the_default(settings: Settings, here: Path) -> None:
    spelled = {
        "discriminator_learning_rate": FACTOR["learning_rate"],
        "discriminator_schedule": "cosine",
        "discriminator_betas": (0.9, 0.999),
        "discriminator_start": 0,
        "discriminator_steps": 1,
    }
    runs = [
        trained(settings(**FACTOR, **given), here / name)
        for name, given in (("plain", {}), ("spelled", spelled), ("own", OWN))
    ]
    weights = [(run / "model.safetensors").read_bytes() for run in runs]
    assert weights[0] == weights[1] != weights[2]


def test_until_the_discriminator_starts_the_bound_alone_is_trained(
    settings: Settings, here: Path
) -> None:
    never = trained(settings(**FACTOR, discriminator_start=100), here / "never")
    bound = {**FACTOR, "objective": "elbo", "penalty": None, "beta": 1.0}
    plain = trained(settings(**bound), here / "plain")
    assert (never / "model.safetensors").read_bytes() == (plain / "model.safetensors").read_bytes()


class WithCritic(Elbo):
    """A bound with a critic that each image meets alone."""

    def __init__(self, facts: RunFacts) -> None:
        super().__init__(facts)
        self.critic = nn.Linear(facts.infer_dim, 1)
        self.players["critic"] = Player(0.03, weight_decay=0.5, start=1, steps=2)

    def losses(self, model: VAE, batch: Batch, pressure: Pressure) -> Loss:
        """The bound less what the critic says, and how far that is from 1."""
        loss, z = super().losses(model, batch, pressure), model.terms(batch).draws[0].z
        rival = (self.critic(z.detach()) - 1).square().mean()
        pressed = loss.loss - 10.0 * frozen(self.critic)(z).mean()
        return dataclasses.replace(loss, loss=pressed, others={"critic": rival})


def test_another_player_is_a_class_and_accumulates_too(
    settings: Settings, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(OBJECTIVES, "elbo", WithCritic)
    steady = {"schedule": "constant", "warmup_epochs": 0.0, "max_steps": 6, "clip": 5.0}
    runs = (trained(settings(accumulate=parts, **steady), here / str(parts)) for parts in (1, 2))
    found, halves = (load_file(checkpoints(run)[-1] / "optimizer.safetensors") for run in runs)
    assert found["objective.critic.weight/step"] == 2 * (6 - 1)
    model = {key: value for key, value in found.items() if "critic" not in key}
    assert {float(value) for key, value in model.items() if key.endswith("/step")} == {6.0}
    assert found.keys() == halves.keys()
    for key, value in found.items():
        np.testing.assert_allclose(halves[key], value, rtol=1e-3, atol=1e-5, err_msg=key)
