"""Runs on streamed images: killed and gone on with, by several processes, in little memory."""

import json
import shlex
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import datasets
import pytest

from distvae.runs import checkpoints
from tests.benchmarks.streaming import FLAGS as NOISE_FLAGS
from tests.benchmarks.streaming import measured, megabytes, write_noise
from tests.conftest import HANG, SHAPES, Command, Start, assert_refused
from tests.training.conftest import lines
from tests.training.groups import Starter, starter, starting

__all__ = ["starter"]

FLAGS = shlex.split(
    "--streaming --shuffle-buffer 25 --hidden 16 --latent-dim 3 --batch-size 12 --epochs 10 "
    "--learning-rate 0.01 --beta 0.1 --ema 0.9 --log-every 1 --checkpoint-every 7"
)
STEPS = 100


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory, shapes: Path) -> Path:
    """The shapes as three parquet files of 40 for training, in row groups of 9, and one to test."""
    root = tmp_path_factory.mktemp("shards")
    features = datasets.Features(image=datasets.Image(), label=datasets.ClassLabel(names=SHAPES))
    for split, count in (("train", 3), ("test", 1)):
        files = sorted((shapes / split).rglob("*.png"))
        for shard in range(count):
            part = files[shard::count]
            cells = [{"bytes": file.read_bytes(), "path": None} for file in part]
            columns = {"image": cells, "label": [SHAPES.index(file.parent.name) for file in part]}
            table = datasets.Dataset.from_dict(columns, features=features)
            table.to_parquet(root / f"{split}-{shard}.parquet", batch_size=9)
    return root


@pytest.fixture(scope="module")
def undisturbed(
    tmp_path_factory: pytest.TempPathFactory, shards: Path, environment: dict[str, str]
) -> dict[int, Path]:
    """Runs of one and of two processes that nothing happened to."""
    here = tmp_path_factory.mktemp("undisturbed")
    flags = ("--data", shards, *FLAGS)
    with starting(here, environment) as starter:
        groups = [
            starter.plain(*flags, "--output", str(size), run=str(size), size=size)
            for size in (1, 2)
        ]
        for group in groups:
            first, *others = group.ended()
            assert "do not repay the recording" in first.out
            for ended in (first, *others):
                assert ended.code == 0, ended.out + ended.err
                assert ended.err == ""
    return {size: here / str(size) for size in (1, 2)}


def ending(run: Path) -> tuple[bytes, list[dict[str, Any]]]:
    """The weights and what was measured, but for the speed."""
    measures = [
        {name: value for name, value in line.items() if name != "images_per_second"}
        for split in ("train", "test")
        for line in lines(run, split)
    ]
    return (run / "model.safetensors").read_bytes(), measures


@pytest.mark.slow
def test_streams_are_learnt_from(undisturbed: dict[int, Path]) -> None:
    for run in undisturbed.values():
        tested = [line["loss"] for line in lines(run, "test")]
        assert len(lines(run)) == STEPS
        assert tested[-1] < 0.8 * lines(run)[0]["loss"]
        record = json.loads((run / "config.json").read_text())
        assert record["data"]["train_images"] == 120
        assert record["settings"]["streaming"] is True
    assert ending(undisturbed[1]) != ending(undisturbed[2]), "each has an order of its own"


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 2])
def test_killed_and_gone_on_with(
    starter: Starter, shards: Path, undisturbed: dict[int, Path], size: int
) -> None:
    group = starter.plain("--data", shards, *FLAGS, "--output", "run", size=size)
    group.wait_for_step(33)  # neither at an epoch's end nor at a checkpoint
    group.kill()
    group = starter.plain("--resume", "run", size=size)
    for ended in group.ended():
        assert ended.code == 0, ended.out + ended.err
    assert ending(group.run) == ending(undisturbed[size])


@pytest.mark.slow
def test_another_number_of_processes_goes_on_at_the_same_step(
    start: Start, starter: Starter, shards: Path, tmp_path: Path
) -> None:
    group = starter.plain("--data", shards, *FLAGS, "--output", "run")
    group.wait_for_checkpoint(2)
    for process in group.processes:
        process.send_signal(signal.SIGTERM)
    group.ended()
    stopped = int(checkpoints(tmp_path / "run")[-1].name.removeprefix("step-"))
    assert stopped < STEPS
    process = start("train", "--resume", "run")
    told = process.communicate(timeout=HANG)[0]
    assert process.returncode == 0, told
    assert f"(step {stopped})" in told
    assert [line["step"] for line in lines(tmp_path / "run")] == list(range(1, STEPS + 1))


@pytest.mark.slow
def test_evaluate_and_export_know_what_was_streamed(
    undisturbed: dict[int, Path], command: Command
) -> None:
    run = undisturbed[1]
    assert command("evaluate", run, "--metrics", "elbo").code == 0
    evaluated = json.loads((run / "evaluation.json").read_text())
    assert evaluated["elbo"] == pytest.approx(lines(run, "test")[-1]["elbo"], abs=2.0)
    assert "120 training images" in (run / "README.md").read_text()


def test_the_mnist_of_the_package_is_refused(command: Command, here: Path) -> None:
    assert_refused(
        command("train", "--streaming"), "does not go with mnist", "Leave out --streaming"
    )
    assert not (here / "runs").exists()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits and /proc are Linux's")
def test_a_set_larger_than_the_memory_that_is_left(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    def train(images: int, limit: float | None) -> dict[str, Any]:
        data = write_noise(tmp_path / str(images), images)
        words = ("--data", data, "--streaming", *NOISE_FLAGS, "--output", tmp_path / "run")
        found = measured(words, environment, limit)
        assert found["code"] == 0, found["told"]
        return found

    small = train(4000, None)
    limit = small["VmData"] + 110.0  # threads reserve memory as they come to meet
    assert megabytes(20_000) > limit - small["RssAnon"], "more than could still be held"
    train(20_000, limit)


def test_the_best_is_judged_by_a_validation_split(
    shards: Path, command: Command, here: Path
) -> None:
    """None can be held out of what is not kept."""
    flags = [*FLAGS, "--max-steps", 30, "--early-stopping", 2, "--output", "run"]
    refused = command("train", "--data", shards, *flags)
    assert_refused(refused, "has no validation split", "a split named validation")
    own = shutil.copytree(shards, here / "own")
    shutil.copy(own / "test-0.parquet", own / "validation-0.parquet")
    ended = command("train", "--data", own, *flags)
    assert ended.code == 0, ended.err
    assert "weights are judged by 51 validation images (validation)" in ended.out
    record = json.loads((here / "run" / "config.json").read_text(encoding="utf-8"))
    assert record["data"]["train_images"] == 120
    assert len(lines(here / "run", "validation")) > len(lines(here / "run", "test")) == 1
    assert command("train", "--resume", "run", "--max-steps", 40).code == 0
