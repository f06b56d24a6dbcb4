"""A finished run that is resumed: as it is, longer, in several goes, and killed on the way."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from distvae.runs import checkpoints
from tests.conftest import Command, listing
from tests.training.conftest import lines

STEPS = 18
"""Of the finished run: 3 epochs of 6."""


def record(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "config.json").read_text(encoding="utf-8"))
    return found


def parts(run: Path) -> list[Any]:
    return [(part["start"], part["end"], part["rate"]) for part in record(run)["schedule"]]


def weights(run: Path) -> bytes:
    return (run / "model.safetensors").read_bytes()


@pytest.mark.parametrize("flags", ["", "--keep 1 --log-every 3"])
def test_a_finished_run_says_so_and_is_left_alone(run: Path, command: Command, flags: str) -> None:
    before, times = listing(run), {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    ended = command("train", "--resume", run, *flags.split())
    assert (ended.code, ended.err) == (0, "")
    assert f"{run} is finished: it stands at step 18 of 18 (epoch 3)" in ended.out
    assert f"distvae train --resume {run} --epochs 6" in ended.out
    assert f"distvae train --resume {run} --max-steps 36" in ended.out
    assert "test split" not in ended.out
    assert "resuming" not in ended.out
    assert listing(run) == before
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == times


def test_what_it_advises_goes_on(run: Path, command: Command) -> None:
    ended = command("train", "--resume", run, "--max-steps", 23)
    assert ended.code == 0, ended.err
    assert "steps 19 to 23 have a schedule of their own: cosine" in ended.out
    assert "0.1 of --learning-rate, as it had fallen to 0" in ended.out
    assert parts(run) == [(0, STEPS, 0.002), (STEPS, 23, pytest.approx(0.0002))]
    # of the two lengths the one that is changed holds
    assert command("train", "--resume", run, "--epochs", 5).code == 0
    assert parts(run)[1:] == [(STEPS, 23, pytest.approx(0.0002)), (23, 30, pytest.approx(0.0002))]
    assert record(run)["settings"]["max_steps"] is None
    assert lines(run)[-1]["step"] == 30


def test_an_end_that_lies_behind_is_said(run: Path, command: Command) -> None:
    """Of a run that was interrupted on its way to a later one."""
    assert command("train", "--resume", run, "--epochs", 5, "--checkpoint-every", 3).code == 0
    shutil.rmtree(checkpoints(run)[-1])
    before = listing(run)
    ended = command("train", "--resume", run, "--epochs", 2)
    assert ended.code == 0
    assert f"{run} is past that end: it stands at step 27 of 12 (epoch 4.5)" in ended.out
    after = listing(run)
    assert after.pop(run / "model.safetensors") != before.pop(run / "model.safetensors")
    assert after == before


@pytest.mark.slow
def test_a_longer_run_does_not_unlearn(run: Path, command: Command) -> None:
    command("train", "--resume", run, "--epochs", 20, "--rewind-schedule", "--log-every", 1)
    copy = shutil.copytree(run, run.with_name("rewound"))
    assert parts(run) == [(0, 120, 0.002)]
    told = command("train", "--resume", run, "--epochs", 30).out
    assert "steps 121 to 180 have a schedule of their own" in told
    told = command("train", "--resume", copy, "--epochs", 30, "--rewind-schedule").out
    assert parts(copy) == [(0, 180, 0.002)]
    assert "the learning rate goes from 0 to 0.000" in told
    ended, *after = [line["loss"] for line in lines(run, "test") if line["step"] >= 120]
    assert len(after) == 10
    assert max(after) < ended + 0.02
    assert after[-1] < ended


@pytest.mark.parametrize("kept", [STEPS, 21, 24, 27])
def test_a_longer_run_that_was_killed_ends_alike(run: Path, command: Command, kept: int) -> None:
    longer = ("train", "--resume", run, "--checkpoint-every", 3, "--keep", 9)
    other = shutil.copytree(run, run.with_name("other"))
    assert command(*longer, "--epochs", 4).code == 0
    assert command(*longer, "--epochs", 5).code == 0
    whole = weights(run)
    assert [start for start, *_ in parts(run)] == [0, STEPS, 24]
    for path in checkpoints(run):  # as if it had been killed before they were written
        if int(path.name.removeprefix("step-")) > kept:
            shutil.rmtree(path)
    assert command("train", "--resume", run).code == 0
    assert weights(run) == whole
    # in one go it is another run
    assert command("train", "--resume", other, "--epochs", 5).code == 0
    assert parts(other)[1:] == [(STEPS, 30, pytest.approx(0.0002))]
    assert weights(other) != whole


def test_a_run_of_before_there_were_parts_goes_on(run: Path, command: Command) -> None:
    copy = shutil.copytree(run, run.with_name("copy"))
    old = record(copy)
    del old["schedule"], old["sha256"]  # it had neither
    (copy / "config.json").write_text(json.dumps(old), encoding="utf-8")
    for folder in (run, copy):
        assert command("train", "--resume", folder, "--epochs", 4).code == 0
    assert weights(run) == weights(copy)
    assert parts(run) == parts(copy)


def test_a_run_stopped_early_goes_on(shapes: Path, here: Path, command: Command) -> None:
    small = ("--hidden", 8, "--latent-dim", 2, "--batch-size", 40, "--learning-rate", 0.05)
    stopping = ("--early-stopping", 2, "--epochs", 60, "--output", "run")
    assert command("train", "--data", shapes, *small, *stopping).code == 0
    stopped = lines(here / "run")[-1]["step"]
    assert stopped < 120
    told = command("train", "--resume", "run").out
    assert f"step {stopped} of 120 (epoch {stopped // 2}), stopped early after 2" in told
    assert "--resume run --early-stopping 4" in told
    # with another length it has all its patience again, and the end of a schedule before it
    told = command("train", "--resume", "run", "--max-steps", stopped + 1).out
    assert f"steps {stopped + 1} to {stopped + 1} have a schedule of their own" in told
    assert lines(here / "run")[-1]["step"] == stopped + 1


def test_rewinding_needs_a_run(command: Command) -> None:
    ended = command("train", "--rewind-schedule")
    assert ended.code == 2
    assert "--rewind-schedule was given without --resume" in ended.err


def test_a_learning_rate_made_for_another_batch(shapes: Path, command: Command, here: Path) -> None:
    recipe = "data: {data}\nmodel: vae\nhidden: [16]\nlatent_dim: 3\nlearning_rate: 0.004\n"
    (here / "mine.yaml").write_text(recipe.format(data=shapes) + "batch_size: 6\nmax_steps: 4\n")
    flags = ("train", "--config", here / "mine.yaml", "--batch-size", 24)
    told = command(*flags, "--lr-scale", "sqrt", "--output", "scaled")
    assert told.code == 0, told.err
    said = "the learning rate is 0.008, which is 0.004 times the root of 24 / 6"
    assert said in told.out
    assert command(*flags, "--learning-rate", 0.008, "--output", "named").code == 0
    assert weights(here / "scaled") == weights(here / "named")
    settings = record(here / "scaled")["settings"]
    assert [settings[name] for name in ("learning_rate", "lr_scale", "lr_batch")] == [
        *(0.004, "sqrt", 6)
    ]
    # it is scaled once, however often the run is gone on with
    for steps, batch, rate in ((8, 24, 0.008), (12, 6, 0.004)):
        more = ("--max-steps", steps, "--batch-size", batch, "--rewind-schedule")
        assert command("train", "--resume", here / "scaled", *more).code == 0
        assert parts(here / "scaled")[-1][2] == pytest.approx(rate)
    # without a batch in the recipe it is meant for the one that fits the data
    bare = ("--batch-size", 32, "--lr-scale", "linear", "--max-steps", 1, "--output", "bare")
    assert command("train", "--data", shapes, *bare).code == 0
    assert record(here / "bare")["settings"]["lr_batch"] == 8
    assert parts(here / "bare")[0][2] == pytest.approx(4 * 0.002)
