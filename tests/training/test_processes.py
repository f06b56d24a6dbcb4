"""Several processes do what one does."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.conftest import Ended
from tests.training.conftest import Settings, lines, losses, trained
from tests.training.groups import Starter, starter

__all__ = ["starter"]


def two_processes(starter: Starter, *flags: object) -> Ended:
    """Train into ``two`` with two real processes over gloo."""
    (ended,) = starter.launched(*flags, "--output", "two").ended()
    return ended


def test_two_processes_agree_with_one(
    settings: Settings, shapes: Path, starter: Starter, here: Path
) -> None:
    ended = two_processes(
        starter,
        *("--data", str(shapes), "--hidden", "16", "--latent-dim", "3", "--batch-size", "12"),
        *("--log-every", "1", "--max-steps", "30", "--clip", "40", "--accumulate", "2"),
    )
    assert ended.code == 0, ended.err
    assert ended.out.count("ConditionalVAE mlp") == 1
    assert ended.out.count("epoch 1/3") == 1
    assert ended.out.count("distvae sample two") == 1
    assert json.loads((here / "two" / "config.json").read_text())["world"]["processes"] == 2

    two, one = here / "two", trained(settings(max_steps=30, clip=40.0), here / "one")
    assert len(losses(two)) == 30
    assert losses(two) == pytest.approx(losses(one), rel=1e-5)
    assert losses(two, "test") == pytest.approx(losses(one, "test"), rel=1e-6)
    weights, expected = (load_file(run / "model.safetensors") for run in (two, one))
    for name, value in expected.items():
        np.testing.assert_allclose(weights[name], value, rtol=1e-3, atol=1e-5, err_msg=name)


@pytest.mark.slow
def test_two_processes_agree_on_a_ladder_and_on_which_steps_are_left_out(
    settings: Settings, shapes: Path, starter: Starter, here: Path
) -> None:
    changes = {"latent_space": "ladder", "levels": 3, "level_maps": 1, "width": 0.1}
    changes |= {"latent_dim": 3, "batch_size": 12, "log_every": 1, "max_steps": 16}
    changes |= {"kl_warmup_epochs": 8.0, "skip_above": 1.1, "mixed_precision": "no"}
    flags = [word for name, value in changes.items() for word in (flag_of(name), str(value))]
    ended = two_processes(starter, "--data", str(shapes), *flags, "--kl-balance")
    assert ended.code == 0, ended.err
    one = trained(settings(**changes, hidden=None, kl_balance=True), here / "one")
    found, expected = lines(here / "two"), lines(one)
    assert [row["skipped"] for row in found] == [row["skipped"] for row in expected]
    assert 0 < sum(row["skipped"] for row in found) < len(found)
    for name in ("loss", "rate_level_z1", "rate_level_z2", "rate_level_z3"):
        values = [row[name] for row in expected]
        assert [row[name] for row in found] == pytest.approx(values, rel=1e-3, abs=1e-6), name


def flag_of(setting: str) -> str:
    return f"--{setting.replace('_', '-')}"


@pytest.mark.slow
def test_a_batch_that_processes_cannot_share_is_refused(
    shapes: Path, starter: Starter, here: Path
) -> None:
    ended = two_processes(starter, "--data", str(shapes), "--batch-size", "15")
    assert ended.code != 0
    assert ended.err.count("error: --batch-size 15 cannot be shared equally by 2") == 1
    assert not list(here.iterdir())
