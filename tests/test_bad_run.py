"""Runs that are damaged, or asked for what they do not have."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from distvae.runs import checkpoints
from tests.conftest import SMALL, Command, assert_refused, cut_short, flip_a_bit, listing


@pytest.mark.parametrize("damage", [cut_short, flip_a_bit, Path.unlink])
def test_damaged_weights_are_refused(
    run: Path, command: Command, damage: Callable[[Path], None]
) -> None:
    damage(run / "model.safetensors")
    before = listing(run)
    ended = command("sample", run)
    assert_refused(ended, f"{run / 'model.safetensors'} is ")
    assert listing(run) == before


def test_a_damaged_config_is_refused(run: Path, command: Command) -> None:
    cut_short(run / "config.json")
    for name in ("sample", "inspect"):
        assert_refused(command(name, run), f"{run / 'config.json'} is damaged")


REFUSED_RUN = {
    "taken": ("train --output run", ("run already holds a run", "--resume", "--overwrite")),
    "architecture": (
        "train --resume run --latent-dim 5",
        ("run/checkpoints/step-00000018", "another architecture", "there and"),
    ),
    "network": ("train --resume run --network conv", ("another architecture",)),
    "recipe": ("train --resume run --config mnist-cvae", ("--resume and --config", "Leave one")),
    "output": ("train --resume run --output other", ("--output other", "in its own folder")),
    "old checkpoint": (
        "train --resume run/checkpoints/step-00000012",
        ("step-00000012 is not the newest checkpoint", "goes on from the newest", "--resume run"),
    ),
    "resume a model": ("train --resume model", ("model is a model and not a run", "settings")),
    "evaluate a model": ("evaluate model", ("model is a model and not a run", "by --data")),
    "label": ("sample run --label 3", ("label 3", "it knows 0..2 (circle, cross, square)")),
    "name": ("sample run --label sqare", ("sqare", "Did you mean square?")),
    "range": ("sample run --label 2-0", ("2-0", "expected LOW-HIGH")),
    "count": ("sample run --count 0", ("--count is 0", "at least 1")),
    "seed": ("sample run --seed -1", ("--seed is -1", "0 or more")),
    "ending": ("sample run --output s.jpg", ("s.jpg", ".png", ".npz")),
    "file": ("sample run --output file", ("file", "expected a new folder")),
    "full": ("sample run --output run", ("run", "not empty")),
    "nearest run": ("inspect rnu", ("rnu is neither a run nor data",)),
}


@pytest.mark.parametrize(("line", "words"), REFUSED_RUN.values(), ids=REFUSED_RUN)
def test_what_a_run_refuses(
    run: Path, command: Command, here: Path, line: str, words: tuple[str, ...]
) -> None:
    Path("file").write_text("text")
    older, newest = here / "run/checkpoints/step-00000012", checkpoints(run)[-1]
    shutil.copytree(newest, older)
    shutil.copytree(newest, here / "model")
    before = listing(here)
    assert_refused(command(*line.split()), *words)
    assert listing(here) == before


def test_a_moving_average_cannot_begin_in_the_middle(
    command: Command, shapes: Path, here: Path
) -> None:
    assert command("train", "--data", shapes, *SMALL, "--ema", 0, "--output", "run").code == 0
    before = listing(here)
    ended = command("train", "--resume", "run", "--ema", 0.9)
    assert_refused(ended, "run/checkpoints/step-00000002 was written without --ema")
    assert listing(here) == before


def test_overwrite_deletes_no_folder_but_a_run(run: Path, command: Command, shapes: Path) -> None:
    model = checkpoints(run)[-1].rename("model")
    before = listing(model)
    ended = command("train", "--data", shapes, *SMALL, "--output", model, "--overwrite")
    assert_refused(ended, "model is a model and not a run")
    assert listing(model) == before


def test_overwrite_replaces_a_run(run: Path, command: Command, shapes: Path) -> None:
    (run / "mine.txt").write_text("old")
    assert command("train", "--data", shapes, *SMALL, "--output", run, "--overwrite").code == 0
    assert not (run / "mine.txt").exists()
    assert [path.name for path in checkpoints(run)] == ["step-00000002"]
