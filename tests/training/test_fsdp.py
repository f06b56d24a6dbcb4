"""A model cut up over two real processes (FSDP2 over gloo) is trained as by DDP.

Run as a program, this file is one of two processes that tell what each of them holds.
"""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from distvae.attributes import Attribute
from distvae.cli import end_process
from distvae.config import ModelConfig, TrainConfig
from distvae.errors import DistvaeError
from distvae.models import build_model
from distvae.runs import checkpoints
from distvae.training import sharding
from tests.conftest import CHECKOUT, SMALL, Command
from tests.training.conftest import Settings, losses, trained
from tests.training.groups import TRAIN, Group, Starter, starter, starting
from tests.warm import begin

__all__ = ["starter"]

FSDP = {"ACCELERATE_USE_FSDP": "true"}
BOTH: dict[int, dict[str, Any]] = {0: {"env": FSDP}, 1: {"env": FSDP}}
STEPS, MIDDLE = 40, 20
# convolutions lie channels last, a learned sigma is one number: fully_shard takes neither as it is
FLAGS = (
    *("--model", "cvae", "--network", "conv", "--width", "0.1", "--likelihood", "gaussian"),
    *("--latent-dim", "3", "--ema", "0.9", "--clip", "100", "--accumulate", "2"),
    *("--batch-size", "12", "--max-steps", STEPS, "--log-every", "1"),
    *("--checkpoint-every", MIDDLE, "--keep", "9"),
)
STATE = ("model.safetensors", "optimizer.safetensors")


@pytest.fixture(scope="module")
def runs(
    tmp_path_factory: pytest.TempPathFactory, environment: dict[str, str], shapes: Path
) -> Path:
    """A folder with one run by DDP, and one by accelerate_configs/fsdp.yaml on the CPU."""
    root = tmp_path_factory.mktemp("fsdp")
    flags = ("--data", shapes, *FLAGS)
    launcher = (sys.executable, "-m", "accelerate.commands.launch", "--mixed_precision", "no")
    config = ("--config_file", str(CHECKOUT / "accelerate_configs" / "fsdp.yaml"))
    with starting(root, environment) as starter:
        ddp = starter.plain(*flags, "--output", "ddp")
        command = [*launcher, *config, *TRAIN, *map(str, flags), "--output", "fsdp"]
        fsdp = Group([begin(command, root, starter.environment, new_session=True)], root / "fsdp")
        starter.groups.append(fsdp)
        for ended in (*ddp.ended(), *fsdp.ended()):
            assert ended.code == 0, ended.err
            assert "Warning" not in ended.err
    return root


def assert_agree(run: Path, other: Path) -> None:
    """The same run, up to rounding."""
    assert len(losses(run)) == STEPS
    for split, tolerance in (("train", 1e-5), ("test", 1e-6)):
        assert losses(run, split) == pytest.approx(losses(other, split), rel=tolerance)
    for name in ("model.safetensors", *(f"{checkpoints(run)[-1].name}/{file}" for file in STATE)):
        folder = Path() if name == "model.safetensors" else Path("checkpoints")
        found, expected = (load_file(one / folder / name) for one in (run, other))
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            np.testing.assert_allclose(found[key], value, rtol=1e-3, atol=1e-5, err_msg=key)


@pytest.mark.slow
def test_it_is_the_run_of_ddp(runs: Path) -> None:
    ddp, fsdp = runs / "ddp", runs / "fsdp"
    assert_agree(fsdp, ddp)
    assert np.mean(losses(fsdp)[-5:]) < losses(fsdp)[0] - 5, "it learns"
    sigma = [load_file(path / STATE[0])["likelihood.log_sigma"] for path in checkpoints(fsdp)]
    assert sigma[0] != sigma[1], "so does what cannot be cut up"
    files = [
        sorted(path.relative_to(run).as_posix() for path in run.rglob("*")) for run in (ddp, fsdp)
    ]
    assert files[0] == files[1]


@pytest.mark.slow
def test_each_process_holds_half(starter: Starter, shapes: Path) -> None:
    group = starter.plain(shapes, script=("-m", __name__), only=BOTH)
    ended = group.ended()
    assert [one.code for one in ended] == [0, 0], ended
    held: list[dict[str, list[int]]] = [json.loads(one.out) for one in ended]
    for what, (_, whole) in held[0].items():
        assert whole > 10_000
        for own, _ in (process[what] for process in held):
            assert 0.4 * whole < own < 0.6 * whole, what


@pytest.mark.slow
def test_killed_and_resumed_it_ends_the_same(runs: Path, starter: Starter, shapes: Path) -> None:
    group = starter.plain("--data", shapes, *FLAGS, "--output", "run", only=BOTH)
    group.wait_for_step(MIDDLE + 3)
    group.kill()
    assert [path.name for path in checkpoints(group.run)] == [f"step-{MIDDLE:08d}"]

    again = starter.plain("--resume", "run", only=BOTH)
    ended = again.ended()
    assert [one.code for one in ended] == [0, 0]
    assert "FSDP2 gathers weights in ways that were never captured" in ended[0].out
    assert losses(again.run) == losses(runs / "fsdp")
    for name in STATE:
        found, expected = (
            (checkpoints(run)[-1] / name).read_bytes() for run in (again.run, runs / "fsdp")
        )
        assert found == expected


@pytest.mark.slow
def test_either_goes_on_from_the_checkpoint_of_the_other(runs: Path, starter: Starter) -> None:
    groups = []
    for began, only in (("fsdp", {}), ("ddp", BOTH)):
        folder = shutil.copytree(runs / began, starter.here / f"begun-by-{began}")
        shutil.rmtree(checkpoints(folder)[-1])
        groups.append(starter.plain("--resume", folder.name, run=folder.name, only=only))
    for group in groups:
        ended = group.ended()
        assert [one.code for one in ended] == [0, 0], ended
        assert f"step-{MIDDLE:08d} (step {MIDDLE})" in ended[0].out
        assert_agree(group.run, runs / "ddp")


def test_a_whole_copy_holds_what_the_model_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """With tables that no file holds: of attributes, and of the levels of a likelihood."""
    monkeypatch.setattr(sharding, "is_sharded", lambda _: True)
    attributes = (Attribute("shape", ("a", "b"), missing=True), Attribute("tilt"))
    config = ModelConfig(model="cvae", hidden=(4,), latent_dim=2, likelihood="categorical")
    model = build_model(config, (1, 2, 2), (), attributes=attributes)
    whole = sharding.whole_model(model)
    for found, expected in zip(whole.buffers(), model.buffers(), strict=True):
        assert torch.equal(found, expected)
    for (name, found), expected in zip(whole.named_parameters(), model.parameters(), strict=True):
        assert torch.equal(found, expected), name


@pytest.mark.slow
def test_the_discriminator_of_factor_has_its_own_steps(
    starter: Starter, shapes: Path, here: Path, settings: Settings
) -> None:
    changes: dict[str, Any] = {
        "objective": "factor",
        "penalty": 20.0,
        "discriminator": [16],
        "discriminator_start": 2,
        "discriminator_steps": 2,
        "model": "vae",
        "prior": "normal",
        "hidden": [16],
        "latent_dim": 3,
        "batch_size": 12,
        "max_steps": 8,
        "clip": 10.0,
        "log_every": 1,
    }
    recipe = starter.here / "factor.yaml"
    recipe.write_text(json.dumps(changes))
    flags = ("--config", recipe, "--data", shapes, "--mixed-precision", "no")
    group = starter.plain(*flags, "--output", "run", only=BOTH)
    assert [one.code for one in group.ended()] == [0, 0]
    one = trained(settings(**changes), here / "one")
    assert losses(group.run) == pytest.approx(losses(one), rel=1e-5)
    found, expected = (load_file(checkpoints(run)[-1] / STATE[1]) for run in (group.run, one))
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        np.testing.assert_allclose(found[key], value, rtol=1e-3, atol=1e-5, err_msg=key)


@pytest.mark.slow
def test_a_process_that_shards_beside_one_that_does_not_is_refused(
    starter: Starter, shapes: Path
) -> None:
    group = starter.plain("--data", shapes, *FLAGS, only={1: {"env": FSDP}})
    told = "".join(one.err for one in group.ended())
    assert "the strategy is 'FSDP' there and None on rank 0" in told


@pytest.mark.parametrize(
    ("asked", "changes", "words"),
    [
        ({"FSDP_VERSION": "1"}, {}, "its fsdp_version is 1"),
        ({"FSDP_OFFLOAD_PARAMS": "true"}, {}, "its fsdp_offload_params is true"),
        ({}, {"mixed_precision": "fp16"}, "--mixed-precision is fp16"),
    ],
)
def test_what_it_cannot_do_is_refused(
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    asked: dict[str, str],
    changes: dict[str, str],
    words: str,
) -> None:
    from distvae.training.sharding import check_sharding

    config = settings(**changes)
    for name, value in asked.items():
        monkeypatch.setenv(name, value)
    check_sharding(config, 2)
    monkeypatch.setenv(*next(iter(FSDP.items())))
    check_sharding(config, 1)  # which has nobody to share with
    with pytest.raises(DistvaeError, match=f"FSDP was asked for, and {words}"):
        check_sharding(config, 2)


def test_one_process_trains_as_a_plain_run(
    command: Command, monkeypatch: pytest.MonkeyPatch, shapes: Path, here: Path
) -> None:
    flags = ("train", "--data", shapes, *SMALL, "--mixed-precision", "no")
    assert command(*flags, "--output", "plain").code == 0
    for name, value in FSDP.items():
        monkeypatch.setenv(name, value)
    ended = command(*flags, "--output", "fsdp")
    assert ended.code == 0, ended.err
    assert "FSDP was asked for, and with one process there is nothing to share" in ended.out
    one, other = (here / name / "model.safetensors" for name in ("plain", "fsdp"))
    assert one.read_bytes() == other.read_bytes()


def main(shapes: str) -> None:
    """Print the bytes that this process holds of what is trained, and those of the whole."""
    from distvae.data.store import open_data
    from distvae.training.accelerator import build_accelerator
    from distvae.training.advance import advance
    from distvae.training.engine import build_engine
    from distvae.training.planning import make_plan

    flags: dict[str, Any] = {"data": shapes, "hidden": [64], "batch_size": 12, "ema": 0.9}
    config = TrainConfig().updated(flags, "the test")
    data = open_data(config.data)
    engine = build_engine(config.resolved(1), data, build_accelerator(config, "unused"))
    advance(engine, make_plan(engine, 0, 1, torch.arange(12).unsqueeze(0)))
    model, averaged = engine.trained.model, engine.trained.averaged
    assert averaged is not None
    state = [engine.trained.optimizer.state[parameter] for parameter in model.parameters()]
    tensors: dict[str, list[Any]] = {
        "weights": list(model.parameters()),
        "average": list(averaged.parameters()),
        "first moments": [held["exp_avg"] for held in state],
        "second moments": [held["exp_avg_sq"] for held in state],
    }
    held = {
        name: (
            sum(tensor.to_local().untyped_storage().nbytes() for tensor in those),
            sum(tensor.numel() * tensor.element_size() for tensor in those),
        )
        for name, those in tensors.items()
    }
    sys.stdout.write(json.dumps(held))
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1])
    end_process(0)
