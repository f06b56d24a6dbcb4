"""What may not run away, and what is done where it does."""

# torch leaves functions untyped
# mypy: disable-error-code="no-untyped-call"

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from distvae.checkpoint import Progress
from distvae.errors import DistvaeError
from distvae.objectives import Loss
from distvae.training import wrapping
from distvae.training.losses import STEPS, is_high
from tests.training.conftest import Settings, losses, trained


@pytest.mark.slow
@pytest.mark.parametrize("likelihood", ["gaussian", "discretized_logistic", "continuous_bernoulli"])
def test_white_images_are_learned_to_the_end(
    settings: Settings, here: Path, likelihood: str
) -> None:
    for name in ("one", "two"):
        (here / "white" / name).mkdir(parents=True)
        for number in range(30):
            path = here / "white" / name / f"{number}.png"
            Image.fromarray(np.full((8, 8, 3), 255, np.uint8)).save(path)
    steady = {"schedule": "constant", "learning_rate": 0.05, "eval_every": 100, "log_every": 1}
    config = settings(data="white", likelihood=likelihood, epochs=100, max_steps=400, **steady)
    told = losses(trained(config, here / "run"))
    assert len(told) == 400
    most = {"gaussian": 6.0 - 0.5 * np.log(2.0 * np.pi), "continuous_bernoulli": 7.0}
    best = -192 * most.get(likelihood, 0.0) * 1.01  # of a density; masses end at 0
    assert best < np.median(told[-50:]) < told[0]
    assert max(told) < 1e6


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_an_exploded_loss_stops_the_run(
    settings: Settings, here: Path, monkeypatch: pytest.MonkeyPatch, sign: float
) -> None:
    count = 0
    whole = wrapping.Training.forward

    def forward(self: Any, *inputs: Any) -> Loss:
        nonlocal count
        count += 1
        loss = whole(self, *inputs)
        # a spike of five steps first, then one that stays
        factor = 1e6 if 12 <= count < 17 or count >= 25 else sign
        return dataclasses.replace(loss, loss=loss.loss * factor)

    monkeypatch.setattr(wrapping.Training, "forward", forward)
    config = settings(max_steps=60, epochs=10, checkpoint_every=7, log_every=5)
    with pytest.raises(DistvaeError) as caught:
        trained(config, here / "run")
    told = str(caught.value)
    assert "the loss has exploded: it is " in told
    assert f"at step {24 + STEPS} and was " in told
    assert "step-00000021" in told, "the last before step 25"
    assert "distortion" in told


@pytest.mark.parametrize(
    ("first", "lowest", "loss", "high"),
    [
        (550.0, 90.0, 78_000.0, False),  # MNIST, which is bernoulli and has 784 pixels
        (550.0, 90.0, 79_000.0, True),
        (3_000.0, 3_000.0, 19_691.0, False),
        (40_000.0, -15_000.0, 1e6, False),  # a density crosses zero
        (40_000.0, -15_000.0, 1e7, True),
        (0.0, 0.0, 70_000.0, False),
    ],
)
def test_what_is_high(first: float, lowest: float, loss: float, high: bool) -> None:
    assert is_high(loss, Progress(first_loss=first, lowest_loss=lowest), 784) == high
