"""Batch and epochs that fit the data, and what is said of a run that is short."""

import json
from pathlib import Path

import pytest

from distvae.config import TrainConfig
from distvae.lengths import FEW_STEPS, few_steps, fitting_batch, fitting_epochs
from tests.conftest import Command, write_shapes


@pytest.mark.parametrize(
    ("images", "batch", "epochs"),
    [
        (1, 1, 2000), (2, 2, 2000), (7, 4, 2000), (49, 8, 334), (324, 16, 100), (2559, 64, 52),
        (2560, 128, 100), (4500, 128, 58), (60_000, 128, 16), (10**9, 128, 16),
    ],
)  # fmt: skip
def test_what_fits(images: int, batch: int, epochs: int) -> None:
    assert (fitting_batch(images), fitting_epochs(images, batch)) == (batch, epochs)


def test_a_fitting_batch_can_be_shared_and_is_no_larger_than_the_data() -> None:
    for images in range(1, 5000):
        batch = fitting_batch(images)
        assert batch & (batch - 1) == 0, "a power of two"
        assert 1 <= batch <= min(images, 128)
        assert fitting_epochs(images, batch) * (images // batch) >= 2000


@pytest.mark.parametrize("images", [40, 360, 60_000])
def test_epochs_are_enough_for_the_steps_that_were_asked_for(images: int) -> None:
    asked = TrainConfig().updated({"max_steps": 20_000}, "the test").fitted(images, 8, 3)
    assert asked.optim.passes * (images // asked.optim.batch) >= 20_000
    short = TrainConfig().updated({"max_steps": 20}, "the test").fitted(images, 8, 3)
    assert short.optim.epochs == TrainConfig().fitted(images, 8, 3).optim.epochs


def test_what_was_asked_for_stays() -> None:
    asked = TrainConfig().updated({"batch_size": 50, "epochs": 3}, "the test")
    assert asked.fitted(360, 8, 3) == asked.updated(
        {"network": "mlp", "hidden": [512, 512], "prior": "label"}, "the test"
    )


@pytest.mark.parametrize(
    ("images", "batch", "epochs"),
    [
        (360, 50, 286),
        (360, 128, 1000),
        (360, 4, 23),
        (360, 1, 16),
        (60_000, 1024, 16),
        (9, 10, 2000),
    ],
)
def test_epochs_fit_the_batch_that_was_asked_for(images: int, batch: int, epochs: int) -> None:
    one = TrainConfig().updated({"batch_size": batch}, "the test").fitted(images, 8, 3)
    assert (one.optim.batch, one.optim.passes) == (batch, epochs)


def test_a_short_run_is_told_what_would_be_enough() -> None:
    told = few_steps(100, 360, 128)
    assert "100 steps are few" in told
    assert "--batch-size 16 and --epochs 91" in told
    assert few_steps(FEW_STEPS, 360, 128) == ""
    assert "batch-size" not in few_steps(100, 360, 16)


def test_few_images_train_without_any_flag(command: Command, here: Path) -> None:
    write_shapes(here / "six", 2, 0)
    ended = command("train", "--data", "six", "--hidden", 8, "--max-steps", 12, "--output", "run")
    assert ended.code == 0, ended.err
    settings = json.loads((here / "run" / "config.json").read_text())["settings"]
    assert settings["batch_size"] in (1, 2)
    assert " an epoch" in ended.out
    assert "are few" not in ended.out, "--max-steps asks for that many"
    short = ("--data", "six", "--hidden", 8, "--epochs", 2, "--output", "short")
    assert " steps are few for any images: take --epochs" in command("train", *short).out
