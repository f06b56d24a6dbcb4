"""Runs whose steps are recorded and repeated, by a recorder that needs no GPU."""

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from distvae.declarations import with_trait
from distvae.draws import steps
from distvae.errors import DistvaeError
from distvae.likelihoods import LIKELIHOODS
from distvae.objectives import OBJECTIVES
from distvae.priors import PRIORS
from distvae.runs import Run, checkpoints
from distvae.tensors import read_tensors
from distvae.training import compilation, recording, stopping, whole_step
from distvae.training.advance import take_step
from distvae.training.capture import NotCaptured, Repeat
from distvae.training.planning import make_plan
from distvae.training.probing import step_seconds
from distvae.training.repeating import OperationRecorder
from distvae.training.run import run_training
from tests.spaces import plain
from tests.training.conftest import Settings, lines, losses, trained
from tests.training.test_advance import FACTOR, built, everything, take


class Recorder(OperationRecorder):
    """Counts what it records."""

    recorded = 0

    def record(self, step: Callable[[], None]) -> Repeat:
        self.recorded += 1
        return super().record(step)


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    """What records the steps of all runs, however short they are."""
    found = Recorder()
    monkeypatch.setattr(recording, "FEW_STEPS", 0)
    monkeypatch.setattr(recording, "recorder_of", lambda device: found)
    monkeypatch.setattr(stopping, "ALONE_SECONDS", 1e9)
    return found


def files(run: Path) -> dict[str, dict[str, Tensor]]:
    """All tensors of a run's newest checkpoint, by file."""
    folder = checkpoints(run)[-1]
    return {path.name: read_tensors(path) for path in sorted(folder.glob("*.safetensors"))}


def check_same(one: Path, other: Path) -> None:
    assert losses(one) == losses(other)
    assert losses(one, "test") == losses(other, "test")
    for name, tensors in files(one).items():
        for key, value in tensors.items():
            assert torch.equal(value, files(other)[name][key]), key


@pytest.mark.parametrize(
    ("changes", "recorded", "on_host"),
    [
        ({"ema": 0.9, "binarize": "dynamic"}, 1, True),
        ({"accumulate": 2}, 1, False),
        (FACTOR, 2, True),
    ],
    ids=["averaged", "accumulated", "a player that joins later"],
)
def test_a_captured_run_is_the_run(
    settings: Settings,
    here: Path,
    recorder: Recorder,
    changes: dict[str, Any],
    recorded: int,
    on_host: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also one that is gone on with in the midst of what was a block, wherever noise is drawn."""
    if not on_host:
        monkeypatch.setattr(steps, "BY_NUMPY", "another")
    each = {"epochs": 3, "eval_every": 3, "sample_every": 3, **changes}
    eager = trained(settings(capture="off", **each), here / "eager")
    assert recorder.recorded == 0
    run = trained(settings(checkpoint_every=13, keep=9, **each), here / "captured")
    assert recorder.recorded == recorded
    check_same(eager, run)
    for checkpoint in checkpoints(run)[1:]:
        shutil.rmtree(checkpoint)
    assert run_training(settings(**each), run, resume=True).finished
    check_same(eager, run)
    written = json.loads((run / "config.json").read_text())
    assert written["capture"] == {"asked": "auto", "taken": "on", "why": ""}


def test_blocks_of_1_7_and_50_steps_are_the_same_bytes(
    settings: Settings, here: Path, recorder: Recorder
) -> None:
    engines = [built(settings(epochs=6, hidden=[4]), here) for _ in range(4)]
    engines[1:] = [recording.captured(engine)[0] for engine in engines[1:]]
    blocks = zip(engines, (50, 1, 7, 50), strict=True)
    found = [take(engine, 0, 57, at_once) for engine, at_once in blocks]
    assert found[0] == found[1] == found[2] == found[3]
    for first, *others in zip(*map(everything, engines), strict=True):
        assert all(torch.equal(first, other) for other in others)
    assert recorder.recorded == 3, "one for each engine, whatever its blocks"


PARTS: list[dict[str, Any]] = [
    *(plain(name) for name, each in OBJECTIVES.items() if each.captures),
    *({"prior": name} for name in PRIORS if name != "codes"),
    *({"latent_space": name} for name in with_trait("latent_space", "codes")),
    *({"likelihood": name} for name in LIKELIHOODS),
    *({"network": name, "hidden": None} for name in ("conv", "resnet")),
    {"posterior": "flow"},
    {"mixed_precision": "bf16"},
    {"clip": 1.0, "free_bits": 0.1, "binarize": "dynamic"},
]


@pytest.mark.parametrize("changes", PARTS, ids=lambda changes: "-".join(map(str, changes.values())))
def test_no_part_looks_at_its_device_in_a_step(
    settings: Settings,
    here: Path,
    recorder: Recorder,
    changes: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(steps, "BY_NUMPY", "another")
    engine = built(settings(**changes), here)
    assert recording.obstacles(engine, "cuda") == []
    take(engine, 0, 1, 1)
    plan = make_plan(engine, 1, 2)
    engine.state.begin(plan)
    recorder.record(lambda: take_step(engine, plan, 0))


def test_the_step_that_is_compiled_can_be_captured(
    settings: Settings, here: Path, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its program, as it is given to the compiler."""
    monkeypatch.setattr(whole_step, "compile_step", lambda program, *_: program)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    engines = [built(settings(**FACTOR), here) for _ in range(2)]
    for number, engine in enumerate(engines):
        update = whole_step.compiled_update(engine.wrapped, engine.loss_of)
        engines[number] = dataclasses.replace(engine, update=update)
    engines[1], _ = recording.captured(engines[1])
    assert take(engines[0], 0, 12, 12) == take(engines[1], 0, 12, 12)
    assert recorder.recorded == 2
    for one, other in zip(*map(everything, engines), strict=True):
        assert torch.equal(one, other)


def no_room(step: Callable[[], None]) -> Callable[[], None]:
    step()
    raise NotCaptured("out of memory: 1 MiB is free")


def test_a_step_for_which_there_is_no_room_is_taken_by_its_program(
    settings: Settings,
    here: Path,
    recorder: Recorder,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It is said once, and what was done for the recording leaves no trace."""
    each = {"epochs": 2, "accumulate": 2, "ema": 0.9}
    eager = trained(settings(capture="off", **each), here / "eager")
    monkeypatch.setattr(recorder, "record", no_room)
    capsys.readouterr()
    run = trained(settings(**each), here / "run")
    assert capsys.readouterr().out.count("out of memory: 1 MiB is free") == 1
    why = {"asked": "auto", "taken": "off", "why": "out of memory: 1 MiB is free"}
    assert json.loads((run / "config.json").read_text())["capture"] == why
    assert Run(run, run).record().capture is not None
    check_same(eager, run)
    with pytest.raises(DistvaeError, match="--capture on: the steps of this run cannot be"):
        trained(settings(capture="on", **each), here / "insists")
    assert not lines(here / "insists")


def test_a_step_that_reads_the_device_is_found_out(
    settings: Settings, here: Path, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = built(settings(), here)
    update = engine.update

    def reads(*arguments: Any) -> Any:
        found = update(*arguments)
        found.values.sum().item()
        return found

    engine, decision = recording.captured(dataclasses.replace(engine, update=reads))
    assert str(decision) == "on"
    take(engine, 0, 3, 3)
    assert engine.graphs is not None
    assert "reads the device" in engine.graphs.news()
    assert engine.graphs.news() == ""


@pytest.mark.usefixtures("recorder")
def test_what_is_in_the_way_is_named(
    settings: Settings, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = built(settings(), here)
    engine.accelerator.scaler = torch.amp.GradScaler("cpu")
    monkeypatch.setattr(OBJECTIVES["elbo"], "captures", False)
    held = dataclasses.replace(engine.train_images, device=torch.device("meta"))  # type: ignore[type-var]
    engine = dataclasses.replace(engine, train_images=held)
    left, decision = recording.captured(engine)
    assert left.graphs is None
    assert decision.taken == "off"
    for reason in ("fp16", "--objective elbo reads the device"):
        assert reason in str(decision)
    assert "images come from the host step by step" in recording.obstacles(engine, "cuda")
    insists = dataclasses.replace(
        engine, config=engine.config.updated({"capture": "on"}, "the test")
    )
    with pytest.raises(DistvaeError, match="fp16"):
        recording.captured(insists)
    monkeypatch.setattr(recording, "is_sharded", lambda forward: True)
    assert recording.obstacles(engine, "cuda")[1].startswith("FSDP2")


def test_a_cpu_captures_what_is_worth_it(
    settings: Settings, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trained(settings(max_steps=1), here / "run")
    assert "capture off (auto: fewer than 300 steps do not" in capsys.readouterr().out
    trained(settings(max_steps=1, capture="on"), here / "insists")
    assert "capture on; " in capsys.readouterr().out
    engine = built(settings(compile="on", capture="on", accumulate=2), here)
    with pytest.raises(DistvaeError, match="compiled apart from its step"):
        recording.captured(engine)


def test_compiling_must_pay_beside_the_step_that_a_device_repeats(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Instant:
        """Repeats nothing, as quickly."""

        recorded = 0

        def record(self, step: Callable[[], None]) -> Repeat:
            step()
            self.recorded += 1
            return lambda steps=1: None

    engine, instant = built(settings(capture="auto"), tmp_path), Instant()
    before = [each.clone() for each in everything(engine)]
    monkeypatch.setattr(recording, "FEW_STEPS", 0)
    monkeypatch.setattr(compilation, "recorder_of", lambda device: None)
    monkeypatch.setattr(compilation, "COMPILE_SECONDS", 1e-6)
    assert compilation._pays(engine)
    (launched,) = step_seconds([engine])
    share = compilation.SAVED_SHARE.get(engine.trained.model.config.network or "", 0.2)
    enough = engine.total_steps * launched * share / 10
    monkeypatch.setattr(compilation, "COMPILE_SECONDS", enough)
    monkeypatch.setattr(compilation, "recorder_of", lambda device: instant)
    assert not compilation._pays(engine)
    assert instant.recorded == 1
    assert all(torch.equal(*pair) for pair in zip(before, everything(engine), strict=True))
    off = engine.config.updated({"capture": "off"}, "the test")
    assert compilation._pays(dataclasses.replace(engine, config=off))
    assert instant.recorded == 1
