"""What a run writes down while it trains."""

from pathlib import Path

import numpy as np
import pytest

from tests.conftest import Command
from tests.training.conftest import Settings, lines, losses, trained


def test_metrics_have_a_line_for_every_step_and_the_promised_numbers(
    settings: Settings, here: Path
) -> None:
    run = trained(settings(epochs=2, beta=0.5), here / "run")
    train, test = lines(run), lines(run, "test")
    assert [line["step"] for line in train] == list(range(1, 21))
    assert [line["step"] for line in test] == [10, 20]
    assert [line["epoch"] for line in test] == [1, 2]
    for line in train:
        assert set(line) == {
            *("step", "epoch", "split", "loss", "elbo", "distortion", "rate"),
            *("images_per_second", "learning_rate", "kl_weight"),
        }
        assert line["kl_weight"] == 0.5
        assert line["images_per_second"] > 0
    for line in test:
        assert {"loss", "elbo", "distortion", "rate", "bits_per_dim", "active_units"} <= set(line)
    for line in train + test:
        assert line["elbo"] == pytest.approx(-line["distortion"] - line["rate"])
        assert line["loss"] == pytest.approx(line["distortion"] + 0.5 * line["rate"], rel=1e-5)


def test_a_log_line_is_the_mean_of_its_steps(settings: Settings, here: Path) -> None:
    every = trained(settings(epochs=2), here / "every")
    fourth = trained(settings(epochs=2, log_every=4), here / "fourth")
    steps = losses(every)
    assert (
        {line["step"]: line["loss"] for line in lines(fourth)}
        == pytest.approx(
            {
                4: np.mean(steps[:4]),
                8: np.mean(steps[4:8]),
                10: np.mean(steps[8:10]),  # an evaluation closes the window
                12: np.mean(steps[10:12]),
                16: np.mean(steps[12:16]),
                20: np.mean(steps[16:20]),
            },
            rel=1e-5,
        )
    )


@pytest.mark.slow
def test_tensorboard_gets_event_files(distvae: Command, shapes: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    small = ("--hidden", "16", "--latent-dim", "3", "--batch-size", "12", "--max-steps", "5")
    ended = distvae(
        "train", "--data", shapes, *small, "--tracker", "tensorboard", "--output", "run"
    )
    assert ended.code == 0, ended.err
    events = (tmp_path / "run").rglob("events.out.tfevents*")
    assert b"test/elbo" in b"".join(file.read_bytes() for file in events)


def test_an_unknown_tracker_is_refused(command: Command, shapes: Path, here: Path) -> None:
    ended = command("train", "--data", shapes, "--tracker", "tensorbord")
    assert ended.code == 2
    assert "Did you mean tensorboard?" in ended.err
    assert not list(here.iterdir())
