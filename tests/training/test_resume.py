"""A run that was killed, stopped or damaged ends with the bytes of one that never was."""

import json
import random
import re
import shlex
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from distvae.files import TEMPORARY
from distvae.runs import checkpoints
from distvae.training.stopping import StopRequest
from tests.conftest import HANG, Command, Start, train_apart
from tests.warm import Started

STEPS = 400
FLAGS = shlex.split(
    "--hidden 16 --latent-dim 3 --batch-size 12 --epochs 40 --ema 0.9 --clip 50 "
    "--schedule cosine --warmup-epochs 0.5 --kl-warmup-epochs 3 --early-stopping 40 "
    "--log-every 1 --checkpoint-every 20 --mixed-precision no"
)


@pytest.fixture(scope="module")
def undisturbed(
    tmp_path_factory: pytest.TempPathFactory, shapes: Path, environment: dict[str, str]
) -> Path:
    """The run that nothing happened to."""
    flags = f"--data {shapes} {' '.join(map(str, FLAGS))}"
    return train_apart(flags, tmp_path_factory.mktemp("undisturbed") / "run", environment)


def metrics(run: Path) -> list[dict[str, Any]]:
    """What was measured, but for the speed."""
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [
        {key: value for key, value in json.loads(line).items() if key != "images_per_second"}
        for line in lines
    ]


def assert_same_end(run: Path, undisturbed: Path) -> None:
    last = checkpoints(run)[-1].relative_to(run)
    assert last == checkpoints(undisturbed)[-1].relative_to(undisturbed)
    weights = ("model.safetensors", last / "model.safetensors", last / "optimizer.safetensors")
    for name in weights:
        assert (run / name).read_bytes() == (undisturbed / name).read_bytes(), name
    assert metrics(run) == metrics(undisturbed)
    assert files(run) == files(undisturbed)
    trainers = [
        json.loads((folder / last / "trainer.json").read_text()) for folder in (run, undisturbed)
    ]
    for name in ("step", "best_loss", "evaluations_since_best"):
        assert trainers[0][name] == trainers[1][name]


def files(run: Path) -> set[Path]:
    """Everything in a run but for the checkpoints, which depend on when it was stopped."""
    names = {path.relative_to(run) for path in run.rglob("*")}
    assert not [name for name in names if name.name.startswith(TEMPORARY)]
    return {name for name in names if name.parts[0] != "checkpoints"}


def wait_for_step(process: Started, run: Path, step: int) -> None:
    """Return when the run is past a step."""
    deadline = time.monotonic() + HANG
    while time.monotonic() < deadline:
        path = run / "metrics.jsonl"
        lines = path.read_text(encoding="utf-8").splitlines()[-2:-1] if path.exists() else []
        if lines and json.loads(lines[0])["step"] >= step:
            return
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.002)
    raise AssertionError(f"step {step} did not come")


@pytest.mark.slow
def test_killed_again_and_again(
    start: Start, shapes: Path, tmp_path: Path, undisturbed: Path
) -> None:
    run, moment = tmp_path / "run", random.Random(0)
    process = start("train", "--data", shapes, *FLAGS, "--output", run)
    # with a checkpoint at each step the kill tends to hit one that is being written; with few it
    # hits the middle of an epoch, with steps to be taken again
    for step, every in ((7, 1), (20, 13), (60, 1), (75, 13), (130, 1), (150, 1000)):
        wait_for_step(process, run, step)
        time.sleep(moment.uniform(0, 0.02))
        process.send_signal(signal.SIGKILL)
        said = process.communicate()[0]
        assert process.returncode == -signal.SIGKILL, said
        process = start("train", "--resume", run, "--checkpoint-every", every)
    told = process.communicate()[0]
    assert process.returncode == 0, told
    assert "resuming" in told
    assert_same_end(run, undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGTERM, 0), (signal.SIGHUP, 0), (signal.SIGUSR1, 0), (signal.SIGINT, 130)],
)
def test_a_stopped_run_says_how_to_go_on(
    start: Start,
    command: Command,
    shapes: Path,
    tmp_path: Path,
    undisturbed: Path,
    number: int,
    code: int,
) -> None:
    run, name = tmp_path / "run", signal.Signals(number).name
    told, flags = "", ("--data", shapes, *FLAGS, "--checkpoint-every", 999, "--overwrite")
    for _ in range(5):  # a quick machine may be done before the signal comes
        process = start("train", *flags, "--output", run)
        wait_for_step(process, run, 25)
        process.send_signal(number)
        told = process.communicate()[0]
        if f"{name}: a checkpoint is written" in told:
            break
    assert process.returncode == code, told
    assert f"{name}: a checkpoint is written" in told
    assert "Traceback" not in told
    path = checkpoints(run)[-1]  # those of better evaluations come before
    assert 25 <= int(path.name.removeprefix("step-")) < STEPS
    assert path.name.removeprefix("step-").lstrip("0") == str(metrics(run)[-1]["step"])
    assert (run / "README.md").exists()
    advice = re.search(r"distvae (train --resume \S+)", told)
    assert advice is not None, told
    if number in (signal.SIGTERM, signal.SIGINT):  # the others leave the same
        assert command(*advice[1].split()).code == 0
        assert_same_end(run, undisturbed)


def test_nohup_is_respected() -> None:
    previous = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopRequest() as stop:
            signal.raise_signal(signal.SIGHUP)
            assert stop.signal_name is None
            signal.raise_signal(signal.SIGTERM)
            assert stop.signal_name == "SIGTERM"
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, previous)


@pytest.fixture
def copy(undisturbed: Path, here: Path) -> Path:
    """A copy of the undisturbed run to damage."""
    return shutil.copytree(undisturbed, here / "copy")


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) * 2 // 3] ^= 1
    path.write_bytes(content)


@pytest.mark.slow
@pytest.mark.parametrize("damage", [cut_short, flip_a_bit, Path.unlink])
@pytest.mark.parametrize("file", ["model.safetensors", "optimizer.safetensors", "trainer.json"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(
    copy: Path,
    command: Command,
    undisturbed: Path,
    file: str,
    damage: Callable[[Path], None],
) -> None:
    before, newest = checkpoints(copy)
    damage(newest / file)
    ended = command("train", "--resume", copy)
    assert ended.code == 0, ended.err
    assert f"warning: {newest / file} is " in ended.out
    assert f"from {before} (step" in ended.out
    assert_same_end(copy, undisturbed)


@pytest.mark.slow
def test_a_step_number_with_a_flipped_bit_is_damage(
    copy: Path, command: Command, undisturbed: Path
) -> None:
    trainer = checkpoints(copy)[-1] / "trainer.json"
    content = json.loads(trainer.read_text())
    trainer.write_text(trainer.read_text().replace(str(content["step"]), str(content["step"] ^ 1)))
    ended = command("train", "--resume", copy)
    assert ended.code == 0, ended.err
    assert f"warning: {trainer} is damaged" in ended.out
    assert_same_end(copy, undisturbed)


@pytest.mark.slow
def test_all_checkpoints_damaged(copy: Path, command: Command) -> None:
    for path in checkpoints(copy):
        cut_short(path / "optimizer.safetensors")
    before = {path: path.stat().st_mtime_ns for path in copy.rglob("*")}
    ended = command("train", "--resume", copy)
    assert ended.code == 2
    assert all(path.name in ended.err for path in checkpoints(copy))
    assert {path: path.stat().st_mtime_ns for path in copy.rglob("*")} == before


@pytest.mark.slow
def test_killed_between_the_last_checkpoint_and_the_weights_of_the_run(
    copy: Path, command: Command, undisturbed: Path
) -> None:
    (copy / "model.safetensors").unlink()
    (copy / f"{TEMPORARY}123-model.safetensors").write_bytes(b"half")
    assert command("train", "--resume", copy).code == 0
    assert_same_end(copy, undisturbed)


@pytest.mark.slow
def test_without_a_checkpoint_it_starts_at_the_beginning(
    copy: Path, command: Command, undisturbed: Path
) -> None:
    shutil.rmtree(copy / "checkpoints")
    (copy / "model.safetensors").unlink()
    ended = command("train", "--resume", copy)
    assert "no checkpoint yet" in ended.out
    assert_same_end(copy, undisturbed)


def test_more_epochs_go_on(run: Path, command: Command) -> None:
    first = metrics(run)
    ended = command("train", "--resume", run, "--epochs", 5)
    assert ended.code == 0, ended.err
    assert "(step 18)" in ended.out
    assert metrics(run)[: len(first)] == first
    assert metrics(run)[-1]["epoch"] == 5
    assert checkpoints(run)[-1].name == "step-00000030"
    assert json.loads((run / "config.json").read_text())["settings"]["epochs"] == 5


def test_a_run_of_other_random_numbers_is_finished_or_not_gone_on_with(
    run: Path, command: Command
) -> None:
    for path in checkpoints(run):
        content = json.loads((path / "trainer.json").read_text())
        del content["sha256"]
        (path / "trainer.json").write_text(json.dumps(content | {"format": 1}))
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.is_file()}
    ended = command("train", "--resume", run)
    assert ended.code == 0, ended.err
    assert "finished" in ended.out
    ended = command("train", "--resume", run, "--epochs", 5)
    assert ended.code == 2
    assert "a seed gave other random numbers" in ended.err
    assert f"distvae train --init-from {run} --output NEW" in " ".join(ended.err.split())
    assert {path: path.stat().st_mtime_ns for path in before} == before


@pytest.mark.parametrize("words", ["run/checkpoints/step-00000018", "--output run"])
def test_a_run_is_also_named_by_its_newest_checkpoint_or_its_output(
    run: Path, command: Command, words: str
) -> None:
    ended = command("train", "--resume", *words.split(), "--epochs", 4)
    assert ended.code == 0, ended.err
    assert "resuming run from run/checkpoints/step-00000018 (step 18)" in ended.out
    assert checkpoints(run)[-1].name == "step-00000024"


def test_resume_alone_takes_the_newest_run(command: Command, finished: Path, here: Path) -> None:
    for name in ("older", "newer"):
        shutil.copytree(finished, here / "runs" / name, copy_function=shutil.copy)
        time.sleep(0.02)
    ended = command("train", "--resume")
    assert ended.code == 0, ended.err
    assert "newest run: runs/newer" in ended.out
