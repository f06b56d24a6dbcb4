"""Several steps at once: a plan, its tables on the device, and where it ends."""

# torch leaves functions untyped
# mypy: disable-error-code="no-untyped-call"

import dataclasses
import functools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from distvae.config import TrainConfig
from distvae.data.store import open_data
from distvae.draws import steps
from distvae.objectives import MODEL, OBJECTIVES
from distvae.training import loop, stopping
from distvae.training.accelerator import build_accelerator
from distvae.training.advance import advance, take_step
from distvae.training.engine import Engine, build_engine
from distvae.training.optimizer import OneCallAdamW
from distvae.training.plan import Plan, numbers_of
from distvae.training.planning import make_plan
from distvae.training.stopping import StopRequest, Vote
from distvae.training.whole_step import compiled_update
from tests.spaces import plain
from tests.training.conftest import Settings, lines, losses, trained
from tests.training.graphs import ReadByHost, Recorder

STEPS = 10
"""Of an epoch, and of what is compared."""
FACTOR: dict[str, Any] = {
    "objective": "factor",
    "model": "vae",
    "prior": "normal",
    "discriminator": [8],
    "discriminator_start": 3,
    "discriminator_steps": 2,
    "discriminator_betas": [0.5, 0.9],
    "clip": 20.0,
}
KINDS: list[dict[str, Any]] = [{"ema": 0.9, "binarize": "dynamic"}, {"accumulate": 2}, FACTOR]


def built(config: TrainConfig, folder: Path) -> Engine:
    data = open_data(config.data)
    config = config.resolved(data.image_shape[0])
    engine = build_engine(config, data, build_accelerator(config, str(folder)))
    engine.wrapped.forward.train()
    return engine


def take(engine: Engine, first: int, steps: int, at_once: int) -> list[list[float]]:
    """Steps in blocks of so many; the losses of each in its last turn."""
    found, step = [], first
    while step < first + steps:
        plan = make_plan(engine, step, min(at_once, first + steps - step))
        advance(engine, plan)
        found += engine.state.found(plan.steps).flatten(1).tolist()
        step += plan.steps
    return found


def everything(engine: Engine) -> list[torch.Tensor]:
    """All that steps change, in a fixed order."""
    trained = engine.trained
    modules = [module for module in (engine.training, trained.averaged) if module is not None]
    states = [module.state_dict() for module in modules] + list(trained.optimizer.state.values())
    return [value for state in states for value in state.values()]


@pytest.mark.parametrize("changes", KINDS, ids=["averaged", "accumulated", "two players"])
def test_steps_at_once_are_the_same_as_one_by_one(
    settings: Settings, here: Path, changes: dict[str, Any]
) -> None:
    engines = [built(settings(**changes), here) for _ in range(3)]
    blocks = zip(engines, (1, 3, STEPS), strict=True)
    found = [take(engine, 0, STEPS, at_once) for engine, at_once in blocks]
    assert len(found[0]) == STEPS
    assert found[0] == found[1] == found[2]
    for tensors in zip(*map(everything, engines), strict=True):
        assert torch.equal(tensors[0], tensors[1])
        assert torch.equal(tensors[0], tensors[2])


@pytest.fixture
def drawn_on_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Noise as another device than a CPU draws it: of the step's number that lies there."""
    monkeypatch.setattr(steps, "BY_NUMPY", "another")


@pytest.mark.usefixtures("drawn_on_device")
@pytest.mark.parametrize("changes", KINDS, ids=["averaged", "accumulated", "two players"])
def test_a_step_that_is_repeated_without_its_program_is_the_step(
    settings: Settings, here: Path, changes: dict[str, Any]
) -> None:
    """So it reads nothing of the host but the plan, and the host reads nothing of it."""
    engines = [built(settings(**changes), here) for _ in range(2)]
    recorder = Recorder()
    for engine in engines:
        take(engine, 0, 4, 2)
    eager = take(engines[0], 4, 13, 13)
    plan = make_plan(engines[1], 4, 13)
    assert plan.steps == 13, "it crosses the end of an epoch"
    engines[1].state.begin(plan)
    replay = recorder.record(lambda: take_step(engines[1], plan, 0))  # the first two steps
    for _ in range(11):
        replay()
    assert engines[1].state.found(13).flatten(1).tolist() == eager
    for one, other in zip(*map(everything, engines), strict=True):
        assert torch.equal(one, other)
    assert {"index_select", "index_copy_", "_fused_adamw_", "mm"} & set(recorder.operations)


def test_what_reads_the_device_or_brings_a_number_is_no_graph() -> None:
    value = torch.ones(3)
    steps: list[Callable[[], object]] = [
        lambda: value.add_(float(value[0])),
        lambda: value.add_(torch.tensor(1.0)),
        lambda: value[value > 0],
    ]
    for step in steps:
        with pytest.raises(ReadByHost):
            Recorder().record(step)


def test_moments_are_corrected_by_the_steps_that_a_player_has_taken(
    settings: Settings, here: Path
) -> None:
    """Not by those it would have taken from the start: a resumed run may start it elsewhere."""
    engine = built(settings(**FACTOR), here)
    counts = {MODEL: 9, "discriminator": 4}
    for name, count in counts.items():
        for parameter in engine.wrapped.parameters(name):
            engine.trained.optimizer.state[parameter]["step"].fill_(count)
    plan = make_plan(engine, 5, 2)
    assert plan.turns == (("discriminator",), (MODEL, "discriminator"))
    for number in range(2):
        first, last = numbers_of(plan.numbers[number], plan.turns).scales
        taken = 4 + 2 * number + 1
        for scales, count in ((first["discriminator"], taken), (last["discriminator"], taken + 1)):
            assert float(scales.mean) == pytest.approx(1 / (1 - 0.5**count))
            assert float(scales.square) == pytest.approx(1 / (1 - 0.9**count))
        assert float(last[MODEL].mean) == pytest.approx(1 / (1 - 0.9 ** (10 + number)))
        assert float(last[MODEL].square) == pytest.approx(1 / (1 - 0.999 ** (10 + number)))


SKIPS: dict[str, Any] = {"skip_above": 1.02, "ema": 0.9, "clip": 20.0}
"""Some of the first steps of which are left out."""
TRACED = [
    KINDS[0],
    FACTOR,
    SKIPS,
    *(
        pytest.param(plain(name), marks=pytest.mark.slow)
        for name, objective in OBJECTIVES.items()
        if objective.compiles and name not in ("elbo", "factor")
    ),
]


@pytest.mark.parametrize("changes", TRACED, ids=lambda changes: ",".join(changes))
def test_the_step_that_is_compiled_agrees_with_autograd(
    settings: Settings, here: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    """Traced as for a compiler, which need not be there; a loss that cannot be traced is found.

    The discriminator starts earlier than it did before, as it may after a resume.
    """
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))
    engines = []
    for functional in (False, True):
        engine = built(settings(**changes), here)
        take(engine, 0, 2, 2)
        players = engine.training.objective.players
        for name in players.keys() - {MODEL}:  # which has stood still, and would have until step 3
            players[name] = dataclasses.replace(players[name], start=0)
        if functional:
            update = compiled_update(engine.wrapped, engine.loss_of)
            engine = dataclasses.replace(engine, update=update)
        take(engine, 2, 6, 3)
        engines.append(engine)
    for one, other in zip(*map(everything, engines), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_a_scaled_step_is_that_of_plain_adamw() -> None:
    """Also where a gradient is not finite: nothing moves, and no step is counted."""
    weights = [torch.nn.Parameter(torch.linspace(-1, 1, 5)) for _ in range(2)]
    optimizers: list[torch.optim.Optimizer] = [
        OneCallAdamW([{"params": weights[:1], "name": MODEL, "weight_decay": 0.01}], lr=0.1),
        torch.optim.AdamW(weights[1:], lr=0.1, weight_decay=0.01),
    ]
    for weight, optimizer in zip(weights, optimizers, strict=True):
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
        for factor in (1.0, float("inf"), 3.0, -1.0):
            scaler.scale((weight.square() * factor).sum()).backward()
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad()
        assert optimizer.state[weight]["step"] == 3
    torch.testing.assert_close(weights[0], weights[1])
    (one,), (other,) = (optimizer.state.values() for optimizer in optimizers)
    torch.testing.assert_close(one["exp_avg_sq"], other["exp_avg_sq"])


def test_steps_are_taken_up_to_the_next_event(
    settings: Settings, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkpoint, an epoch's end with something due, the end of the run; a log line is none."""
    plans: list[Plan] = []

    def noted(engine: Engine, plan: Plan) -> None:
        plans.append(plan)
        advance(engine, plan)

    monkeypatch.setattr(loop, "advance", noted)
    monkeypatch.setattr(stopping, "ALONE_SECONDS", 1e9)
    events = {"eval_every": 2, "sample_every": 2, "checkpoint_every": 7}
    often = settings(epochs=3, max_steps=27, log_every=4, **events)
    run = trained(often, here / "often")
    ends = [plan.first + plan.steps for plan in plans]
    assert ends == [1, 7, 14, 20, 21, 27]
    assert [plan.first for plan in plans] == [0, *ends[:-1]]
    plans.clear()
    monkeypatch.setattr(stopping, "ALONE_SECONDS", 0.0)
    steps = trained(often, here / "steps")
    assert [plan.steps for plan in plans] == [1] * 27
    assert losses(run) == losses(steps)
    assert [line["step"] for line in lines(run)] == [4, 7, 8, 12, 14, 16, 20, 21, 24, 27]
    assert (run / "model.safetensors").read_bytes() == (steps / "model.safetensors").read_bytes()


def test_a_process_alone_looks_for_signals_by_the_clock(
    settings: Settings, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr(time, "perf_counter", lambda: now)
    monkeypatch.setattr(stopping, "ALONE_SECONDS", 0.125)
    stop = StopRequest()
    vote = Vote(build_accelerator(settings(), str(here)), stop, 40)
    assert vote.due == 41
    for seconds, ahead in ((4.0, 1), (0.015625, 8), (0.015625, 64), (64.0, 1)):
        step, now = vote.due, now + seconds
        assert vote.signal_name(step) is None
        assert vote.due == step + ahead
    stop.signal_name = "SIGTERM"
    assert vote.signal_name(vote.due - 1) == "SIGTERM", "at any other event as well"
