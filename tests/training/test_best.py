"""The best weights of a run: which they are, that they are kept, and that resuming keeps them."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from distvae.arguments import training
from distvae.data.batches import ResidentImages
from distvae.data.store import open_data
from distvae.errors import DistvaeError
from distvae.evaluation.elbo import elbo_metrics
from distvae.models import VAE
from distvae.runs import Run, checkpoints
from tests.conftest import Command, assert_refused, flip_a_bit, write_shapes
from tests.training.conftest import lines, losses
from tests.training.groups import Starter, starter

__all__ = ["starter"]

# a rate at which the loss soon stops falling, so that the best comes before the last
FLAGS = (
    *("--hidden", 16, "--latent-dim", 3, "--batch-size", 12, "--epochs", 30, "--ema", "0.5"),
    *("--learning-rate", "0.05", "--beta", "1", "--checkpoint-every", 4, "--output"),
)
STOPPING = ("--early-stopping", 3)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("made") / "run"


@pytest.fixture
def stopped(made: Path, shapes: Path, command: Command, here: Path) -> tuple[Path, str]:
    """A run that was stopped early, a copy of its own for each test, and what it told."""
    if not made.exists():
        ended = command("train", "--data", shapes, *STOPPING, *FLAGS, made)
        assert ended.code == 0, ended.err
        (made.parent / "told").write_text(ended.out, encoding="utf-8")
    return shutil.copytree(made, here / "run"), (made.parent / "told").read_text(encoding="utf-8")


def best_step(run: Path) -> int:
    """By the losses that were written down."""
    judged = lines(run, "validation")
    found: int = min(judged, key=lambda line: line["loss"])["step"]
    return found


def weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


def checkpoint(run: Path, step: int) -> Path:
    return run / "checkpoints" / f"step-{step:08d}"


def measured(run: Path, split: str) -> dict[str, float]:
    """The weights of a run on a split, measured anew."""
    config = Run(run, run).config()
    images = ResidentImages.from_split(getattr(open_data(config.data), split))
    model = VAE.from_pretrained(run)
    return dict(elbo_metrics(model, images, config.optim.seed))


def test_what_is_left_behind_is_the_best(stopped: tuple[Path, str], command: Command) -> None:
    run, told = stopped
    judged, best = losses(run, "validation"), best_step(run)
    assert len(judged) < 30
    assert judged.index(min(judged)) == len(judged) - 4
    assert weights(run) == weights(checkpoint(run, best))
    last = checkpoints(run)[-1]
    assert last != checkpoint(run, best)
    assert weights(last) != weights(run)
    # the loss is that of an elbo with beta 1
    assert -measured(run, "validation")["elbo"] == pytest.approx(min(judged), rel=1e-6)
    (tested,) = lines(run, "test")
    assert tested["weights_step"] == best
    assert measured(run, "test")["elbo"] == pytest.approx(tested["elbo"], rel=1e-6)
    line = told.strip().splitlines()[-1]
    assert line.startswith(f"stopped early. The weights are those of step {best} (epoch")
    assert "3 evaluations since then without a better one" in line
    card = (run / "README.md").read_text(encoding="utf-8")
    assert f"Weights: step {best} (epoch {best / 9:g}), the best by validation loss" in card
    assert f"samples/epoch-{best // 9:04d}.png" in card
    assert "weights are judged by 12 validation images" in told
    shown = command("inspect", run).out
    assert f"step {best} (epoch {best / 9:g})" in shown
    assert "test best_step" not in shown


def test_it_says_that_it_is_finished(stopped: tuple[Path, str], command: Command) -> None:
    run, _ = stopped
    before = weights(run)
    ended = command("train", "--resume", run)
    assert (ended.code, ended.err) == (0, "")
    assert "stopped early after 3 evaluations without a better loss" in ended.out
    assert weights(run) == before


@pytest.mark.parametrize("which", ["before the best", "at the best", "after it"])
def test_killed_and_resumed_it_keeps_the_same(
    stopped: tuple[Path, str], command: Command, which: str
) -> None:
    run, _ = stopped
    whole, best, end = weights(run), best_step(run), checkpoints(run)[-1].name
    optimizer = (checkpoints(run)[-1] / "optimizer.safetensors").read_bytes()
    tested = lines(run, "test")
    kept = {"before the best": best - 1, "at the best": best, "after it": best + 5}[which]
    for path in checkpoints(run):
        if int(path.name.removeprefix("step-")) > kept:
            shutil.rmtree(path)
    (run / "README.md").unlink()
    ended = command("train", "--resume", run)
    assert ended.code == 0, ended.err
    assert weights(run) == whole
    assert checkpoints(run)[-1].name == end
    assert (checkpoints(run)[-1] / "optimizer.safetensors").read_bytes() == optimizer
    assert lines(run, "test") == tested


@pytest.mark.slow
def test_more_patience_goes_on_from_the_last_and_not_from_the_best(
    stopped: tuple[Path, str], shapes: Path, command: Command, here: Path
) -> None:
    run, _ = stopped
    assert command("train", "--resume", run, "--early-stopping", 5).code == 0
    patient = ("--early-stopping", 5, *FLAGS, "patient")
    assert command("train", "--data", shapes, *patient).code == 0
    assert weights(checkpoints(run)[-1]) == weights(checkpoints(here / "patient")[-1])
    assert weights(run) == weights(here / "patient")
    assert losses(run, "validation") == losses(here / "patient", "validation")


@pytest.mark.slow
def test_a_checkpoint_with_a_best_of_its_own_has_it(
    shapes: Path, command: Command, here: Path
) -> None:
    """The one before the newest is gone on from, and the best that it knew is still there."""
    run = here / "run"
    flags = ("--keep-best", "--keep", 2, "--checkpoint-every", 4, *FLAGS)
    assert command("train", "--data", shapes, *flags, run).code == 0
    before, newest = checkpoints(run)[-2:]
    for path in (before, newest):
        step = json.loads((path / "trainer.json").read_text(encoding="utf-8"))["best_step"]
        assert checkpoint(run, step).is_dir()
    assert len(checkpoints(run)) <= 4
    whole = weights(run)
    flip_a_bit(newest / "optimizer.safetensors")
    ended = command("train", "--resume", run)
    assert "going on from the checkpoint before" in ended.out
    assert weights(run) == whole


@pytest.mark.slow
def test_a_damaged_best_is_named_and_the_next_is_looked_for(
    stopped: tuple[Path, str], command: Command
) -> None:
    run, _ = stopped
    path = checkpoint(run, best_step(run)) / "model.safetensors"
    flip_a_bit(path)
    before = weights(run)
    ended = command("train", "--resume", run)
    assert ended.code == 0, ended.err
    assert f"warning: {path} is damaged" in ended.out
    assert weights(run) == before, "the last copy of the best"
    ended = command("train", "--resume", run, "--early-stopping", 5)
    assert ended.code == 0, ended.err
    assert weights(run) in {weights(path.parent) for path in run.rglob("step-*/trainer.json")}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flags", "kept"),
    [(("--keep-best",), True), (("--early-stopping", 9, "--keep-best", "off"), False), ((), False)],
)
def test_it_is_kept_where_it_is_asked_for(
    shapes: Path, command: Command, here: Path, flags: tuple[Any, ...], kept: bool
) -> None:
    ended = command("train", "--data", shapes, *flags, *FLAGS[:-1], "--output", "run")
    assert ended.code == 0, ended.err
    run = here / "run"
    assert ("The weights are those of step" in ended.out) == kept
    newest = checkpoints(run)[-1]
    assert (weights(run) == weights(newest)) == (not kept)
    assert bool(lines(run, "validation")) == kept
    # without it nothing is held out, and the test split is looked at as ever
    record = json.loads((run / "config.json").read_text(encoding="utf-8"))
    assert record["data"]["train_images"] == (108 if kept else 120)
    assert len(lines(run, "test")) == (1 if kept else 30)


def test_with_max_steps_and_rare_evaluations(shapes: Path, command: Command, here: Path) -> None:
    """A run that ends within an epoch is evaluated there, and may be best there."""
    sparse = ("--eval-every", 2, "--max-steps", 32, "--early-stopping", 1, "--log-every", 1)
    ended = command("train", "--data", shapes, *sparse, *FLAGS[:-1], "--output", "run")
    assert ended.code == 0, ended.err
    found = [line["step"] for line in lines(here / "run", "validation")]
    assert found in ([18, 32], [18], [18, 36])
    assert f"those of step {best_step(here / 'run')} " in ended.out


@pytest.mark.slow
def test_a_validation_split_of_the_data_is_taken(command: Command, here: Path) -> None:
    for name, count, seed in (("train", 20, 0), ("validation", 7, 1), ("test", 6, 2)):
        write_shapes(here / "own" / name, count, seed)
    ended = command("train", "--data", "own", *STOPPING, *FLAGS, "run")
    assert ended.code == 0, ended.err
    assert "weights are judged by 21 validation images (validation)" in ended.out
    record = json.loads((here / "run" / "config.json").read_text(encoding="utf-8"))
    assert [record["data"][f"{name}_images"] for name in ("train", "validation", "test")] == [
        60,
        21,
        18,
    ]
    assert command("evaluate", "run", "--metrics", "elbo").code == 0
    refused = command("train", "--data", "own", *STOPPING, "--split-validation", "test", *FLAGS, 2)
    assert_refused(refused, "is the split that is tested on")


@pytest.mark.slow
def test_two_processes_keep_the_same_best(
    shapes: Path, command: Command, starter: Starter, stopped: tuple[Path, str]
) -> None:
    """Also where the model is cut up over them (FSDP2)."""
    one, _ = stopped
    flags = ("--data", shapes, *STOPPING, *FLAGS)
    sharded = {rank: {"env": {"ACCELERATE_USE_FSDP": "true"}} for rank in (0, 1)}
    for name, only in (("two", {}), ("sharded", sharded)):
        group = starter.plain(*flags, name, only=only)
        for ended in group.ended():
            assert ended.code == 0, ended.err
        assert best_step(group.run) == best_step(one)
        expected = losses(one, "validation")
        assert losses(group.run, "validation") == pytest.approx(expected, rel=1e-4)
        assert weights(group.run) == weights(checkpoint(group.run, best_step(one)))
        found, wanted = (load_file(run / "model.safetensors") for run in (group.run, one))
        for key, value in wanted.items():
            np.testing.assert_allclose(found[key], value, rtol=1e-2, atol=1e-3, err_msg=key)


def test_how_it_is_asked_for() -> None:
    asked = {"": None, "--keep-best": True, "--keep-best off": False, "--keep_best=on": True}
    for words, kept in asked.items():
        assert training(words.split()).config.run.keep_best is kept
    with pytest.raises(DistvaeError, match="expected on or off"):
        training(["--keep-best", "perhaps"])


@pytest.mark.slow
def test_losses_of_another_objective_do_not_compare(
    stopped: tuple[Path, str], command: Command
) -> None:
    run, _ = stopped
    before = len(losses(run, "validation"))
    ended = command("train", "--resume", run, "--beta", 40)
    assert ended.code == 0, ended.err
    assert "does not compare" in ended.out
    # all of these are above the best by the other, and the best of them is kept
    judged = lines(run, "validation")[before:]
    assert len(judged) > 3
    best = min(judged, key=lambda line: line["loss"])["step"]
    assert weights(run) == weights(checkpoint(run, best))
