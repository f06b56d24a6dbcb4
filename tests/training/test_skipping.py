"""Steps that are left out: by which gradients, what they change, and what a run says of them."""

# torch leaves functions untyped
# mypy: disable-error-code="no-untyped-call"

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from distvae.checkpoint import OPTIMIZER
from distvae.config import TrainConfig
from distvae.errors import DistvaeError
from distvae.runs import checkpoints
from distvae.training.optimizer import OneCallAdamW
from distvae.training.run import run_training
from distvae.training.skipping import FOLLOWS, MOST, GradientGuard
from tests.training.conftest import Settings, lines, losses, settings, trained

__all__ = ["settings"]


def told(guard: GradientGuard, *lengths: float) -> list[float]:
    """Verdicts of gradients of these lengths, one after the other."""
    parts = ([torch.tensor([0.6 * length]), torch.tensor([[0.8 * length]])] for length in lengths)
    return [float(guard.verdict(part)) for part in parts]


def test_a_gradient_is_measured_by_those_before() -> None:
    guard = GradientGuard(10.0, torch.device("cpu"))
    assert told(guard, 5.0, 6.0, 4.0, 60.0, 5.0, math.nan, math.inf, 5.0) == [
        *(0, 0, 0, 1, 0, 1, 1, 0)
    ]
    expected = math.log(5.0)
    for length in (6.0, 4.0, 5.0, 5.0):
        expected += FOLLOWS * (math.log(length) - expected)
    assert float(guard.usual) == pytest.approx(expected, rel=1e-5)


def test_a_new_size_is_accepted_after_so_many() -> None:
    guard = GradientGuard(10.0, torch.device("cpu"))
    assert told(guard, 1.0, *[1000.0] * (MOST + 2)) == [0, *[1] * MOST, 0, 0]
    # and a gradient that is no number is no new size
    assert told(guard, *[math.nan] * (MOST + 1), 1000.0)[-2:] == [0, 0]


def test_a_step_that_is_left_out_moves_nothing_and_counts() -> None:
    weight = torch.nn.Parameter(torch.ones(3))
    group = {"params": [weight], "name": "model", "factor": 1.0, "weight_decay": 0.1}
    optimizer = OneCallAdamW([{**group, "betas": (0.9, 0.999)}], lr=0.1)
    optimizer.param_groups[0]["lr"] = torch.tensor(0.1, dtype=torch.float64)
    weight.grad = torch.ones(3)
    optimizer.move(torch.zeros(()))
    before = {name: value.clone() for name, value in optimizer.state[weight].items()}
    there = weight.detach().clone()
    assert not torch.equal(there, torch.ones(3))
    weight.grad = torch.full((3,), math.nan)
    optimizer.move(torch.ones(()))
    assert torch.equal(weight.detach(), there)
    for name in ("exp_avg", "exp_avg_sq"):
        assert torch.equal(optimizer.state[weight][name], before[name])
    assert optimizer.counts() == {"model": 2}


@pytest.mark.slow
def test_a_run_leaves_steps_out_and_goes_on_exactly(
    settings: Settings, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # a bound so near that some steps of any run lie beyond it
    changes = {"skip_above": 1.05, "log_every": 5, "checkpoint_every": 7, "schedule": "constant"}
    whole = trained(settings(**changes, max_steps=20), here / "whole")
    shares = [line["skipped"] for line in lines(whole)]
    assert 0 < sum(shares) < len(shares)
    said = capsys.readouterr().out
    assert f"{round(5 * shares[0])} of the 5 steps to step 5 left out" in said
    assert "more than 1.05 times as long as usual" in " ".join(said.split())
    run = trained(settings(**changes, max_steps=13), here / "run")
    assert run_training(settings(**changes, max_steps=20), run, resume=True).finished
    for name in ("model.safetensors", OPTIMIZER):
        found, expected = (load_file(checkpoints(folder)[-1] / name) for folder in (run, whole))
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[key], value) for key, value in expected.items())
    assert {"parameters/guard.usual", "parameters/guard.row"} <= found.keys()
    # the gradient that is looked at is that of the whole batch, in however many parts
    parts = trained(settings(**changes, accumulate=2, max_steps=20), here / "parts")
    assert [line["skipped"] for line in lines(parts)] == shares
    assert losses(parts) == pytest.approx(losses(whole), rel=1e-4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mixed_precision": "fp16"}, r"--skip-above.*--mixed-precision fp16"),
        ({"skip_above": 1.0}, r"--skip-above is 1.*above 1"),
    ],
)
def test_what_does_not_go_with_it_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(DistvaeError, match=message):
        TrainConfig().updated({"skip_above": 20.0, **changes}, "the test")
