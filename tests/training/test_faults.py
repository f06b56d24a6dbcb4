"""What goes wrong on one of several processes is told once, and all of them end."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from distvae.files import LOCK, TEMPORARY
from distvae.runs import checkpoints
from tests.benchmarks.kills import FLAGS, end_of, killed, metrics
from tests.conftest import CHECKOUT, Command, Ended, flip_a_bit, listing
from tests.training.groups import Starter, starter, starting, workers

__all__ = ["starter"]
LONG = (*FLAGS, "--epochs", "2000", "--checkpoint-every", "20", "--output", "run")
FAULTY = (str(CHECKOUT / "tests" / "training" / "faulty.py"),)


def told_once(ended: list[Ended], code: int, *words: str) -> str:
    """All ended with this code, and one of them said why in one line."""
    assert [each.code for each in ended] == [code] * len(ended), ended
    lines = [line for each in ended for line in each.err.splitlines()]
    assert len(lines) == 1, ended
    assert lines[0].startswith("error: ")
    for word in words:
        assert word in lines[0]
    return lines[0]


@pytest.fixture(scope="module")
def undisturbed(
    tmp_path_factory: pytest.TempPathFactory, shapes: Path, environment: dict[str, str]
) -> Path:
    """A run of two processes that nothing happened to."""
    here = tmp_path_factory.mktemp("undisturbed")
    with starting(here, environment) as starter:
        group = starter.plain("--data", shapes, *FLAGS, "--checkpoint-every", 20, "--output", "run")
        assert [ended.code for ended in group.ended()] == [0, 0]
    return here / "run"


@pytest.mark.slow
def test_a_process_with_other_settings_or_versions_is_refused(
    starter: Starter, shapes: Path, tmp_path: Path
) -> None:
    other = shutil.copytree(CHECKOUT / "distvae", tmp_path / "other" / "distvae")
    init = other / "__init__.py"
    init.write_text(re.sub(r'__version__ = ".*"', '__version__ = "0.0.9"', init.read_text()))
    script = shutil.copy(CHECKOUT / "launch" / "train.py", tmp_path)  # beside no package
    own = {
        "flags": ("--learning-rate", 0.01, "--threads", 2),
        "env": {"PYTHONPATH": str(other.parent)},
    }
    group = starter.plain("--data", shapes, *LONG, script=(str(script),), only={1: own})
    line = told_once(group.ended(), 2, "rank 1 (process ", "learning_rate is 0.01 there and 0.002")
    assert "the version of distvae is '0.0.9' there" in line
    assert "threads" not in line
    assert not group.run.exists()


@pytest.mark.slow
def test_a_second_run_is_refused_and_a_lost_rank_ends_the_first(
    starter: Starter, shapes: Path, command: Command
) -> None:
    group = starter.plain("train", "--data", shapes, *LONG, script=(*FAULTY, "impatience"))
    group.wait_for_step(20)
    main = group.processes[0].pid
    for flags in (("--resume", "run"), ("--data", shapes, *LONG, "--overwrite")):
        ended = command("train", *flags)
        assert ended.code == 2
        assert ended.err.startswith(f"error: run is being trained in by process {main} on ")
        assert ended.err.count("\n") == 1

    group.processes[1].kill()
    survivor, lost = group.ended()
    told_once([survivor], 3, f"rank 0 lost rank 1 (process {group.processes[1].pid} on ")
    assert "distvae train --resume run" in survivor.err
    assert lost.code == -signal.SIGKILL
    assert not (group.run / LOCK).exists()


@pytest.mark.slow
def test_a_rank_lost_under_a_launcher(starter: Starter, shapes: Path) -> None:
    group = starter.launched("--data", shapes, *LONG)
    group.wait_for_step(20)
    lost = workers(group.processes[0])[1]
    os.kill(lost, signal.SIGKILL)
    (ended,) = group.ended()
    assert ended.code == 1, ended  # the launcher's own
    assert ended.err.count(f"error: rank 0 lost rank 1 (process {lost} on ") == 1, ended.err
    assert ended.err.count("error: ") == 1, ended.err


@pytest.mark.slow
def test_a_rank_that_hangs_is_waited_for_until_the_timeout(starter: Starter, shapes: Path) -> None:
    group = starter.plain("--data", shapes, *LONG, "--timeout", 3)
    group.wait_for_step(20)
    silent = group.processes.pop()
    silent.send_signal(signal.SIGSTOP)
    try:
        told_once(group.ended(), 3, "rank 0 lost rank 1", "Timed out waiting 3000ms")
    finally:
        silent.kill()
        silent.communicate()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("loss", ("the loss of step 7 is nan", "distortion", "nats per image")),
        ("gradient", ("the loss of step 8 is nan",)),
        ("bit", ("the weights of rank 1 are not those of rank 0 after step 9",)),
    ],
)
def test_a_fault_on_one_rank_stops_all(
    starter: Starter, shapes: Path, fault: str, words: tuple[str, ...]
) -> None:
    flags = ("train", "--data", shapes, *LONG, "--checkpoint-every", 5)
    group = starter.plain(*flags, script=(*FAULTY, fault))
    told_once(group.ended(), 2, *words)
    good = checkpoints(group.run)[-1]
    assert good.name == "step-00000005"


@pytest.mark.slow
def test_a_launcher_that_is_told_to_stop_leaves_a_checkpoint(
    starter: Starter, shapes: Path
) -> None:
    group = starter.launched("--data", shapes, *LONG, "--checkpoint-every", 99999)
    group.wait_for_step(20)
    group.processes[0].terminate()
    (ended,) = group.ended()
    assert ended.out.count("SIGTERM: a checkpoint is written") == 1, ended
    path = checkpoints(group.run)[-1]  # those of better evaluations come before
    assert int(path.name.removeprefix("step-")) == metrics(group.run)[-1]["step"]


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [("SIGUSR1", 0), ("SIGINT", 130)])
def test_a_signal_to_one_rank_stops_all_at_one_step(
    starter: Starter, shapes: Path, number: str, code: int
) -> None:
    group = starter.plain("--data", shapes, *LONG, "--checkpoint-every", 99999)
    group.wait_for_step(20)
    group.processes[1].send_signal(signal.Signals[number])
    ended = group.ended()
    assert [(each.code, each.err) for each in ended] == [(code, "")] * 2
    assert f"{number}: a checkpoint is written" in ended[0].out
    path = checkpoints(group.run)[-1]  # those of better evaluations come before
    assert int(path.name.removeprefix("step-")) == metrics(group.run)[-1]["step"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)]
    if (
        sys.platform != "linux"
        or subprocess.run(mount, capture_output=True, check=False).returncode
    ):
        pytest.skip("only root may mount a small file system")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def fill(disk: Path) -> Path:
    """Leave no room."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(512))
        except OSError:
            return filler


@pytest.mark.slow
@pytest.mark.parametrize("log_every", [1, 10_000])
def test_a_full_disk_is_told_and_the_run_goes_on_when_there_is_room(
    starter: Starter, shapes: Path, small_disk: Path, undisturbed: Path, log_every: int
) -> None:
    flags = ("--data", shapes, *FLAGS, "--checkpoint-every", 20, "--log-every", log_every)
    group = starter.plain(*flags, "--output", "disk/run", run="disk/run")
    group.wait_for_checkpoint(1)
    filler = fill(small_disk)
    told = ("No space left on device", "MB are free in disk/run", "Make it writable with room")
    line = told_once(group.ended(), 2, *told)
    if log_every > 1:
        assert re.search("the checkpoint of step .* cannot be written.*it takes 0.1 MB", line)
    assert not list(group.run.rglob(f"{TEMPORARY}*"))
    whole = listing(group.run / "checkpoints")
    filler.unlink()

    resumed = starter.plain("--resume", "disk/run", "--log-every", 1, run="disk/run")
    first, _ = resumed.ended()
    assert first.code == 0, first.err
    assert f"from {checkpoints(undisturbed)[-1].name}" not in first.out
    assert "warning" not in first.out
    assert whole
    ends = end_of(group.run), end_of(undisturbed)
    for name in ends[1]:
        assert (name == "metrics" and log_every > 1) or ends[0][name] == ends[1][name], name


def test_a_folder_that_cannot_be_written_is_told(
    small_disk: Path, command: Command, shapes: Path
) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    ended = command("train", "--data", shapes, *FLAGS, "--output", small_disk / "run")
    assert ended.code == 2
    assert ended.err.startswith(f"error: {small_disk}/run cannot be trained in: Read-only file sys")
    assert ended.err.count("\n") == 1


@pytest.fixture
def copy(undisturbed: Path, tmp_path: Path) -> Path:
    """A copy of the undisturbed run to damage."""
    return shutil.copytree(undisturbed, tmp_path / "run")


@pytest.mark.slow
def test_all_ranks_go_on_from_the_same_whole_checkpoint(
    starter: Starter, copy: Path, undisturbed: Path
) -> None:
    before, newest = checkpoints(copy)
    flip_a_bit(newest / "optimizer.safetensors")
    (copy / ".tmpAb3xYz").write_bytes(b"half")
    ended = starter.plain("--resume", "run").ended()
    assert [each.code for each in ended] == [0, 0], ended
    assert ended[0].out.count("warning: ") == 1
    assert f"resuming run from run/checkpoints/{before.name} (step " in ended[0].out
    assert ended[1].out == ""
    assert end_of(copy) == end_of(undisturbed)
    assert not list(copy.glob(".*"))


@pytest.mark.slow
def test_a_rank_that_does_not_see_the_checkpoint_is_told(
    starter: Starter, copy: Path, tmp_path: Path
) -> None:
    other = shutil.copytree(copy, tmp_path / "elsewhere" / "run")
    shutil.rmtree(checkpoints(other)[-1])
    before = listing(copy)
    group = starter.plain("--resume", "run", only={1: {"here": tmp_path / "elsewhere"}})
    told_once(group.ended(), 2, f"on rank 1, run/checkpoints/{checkpoints(copy)[-1].name}/")
    assert listing(copy) == before


@pytest.mark.slow
def test_one_process_goes_on_with_what_two_began(
    command: Command, copy: Path, undisturbed: Path
) -> None:
    shutil.rmtree(checkpoints(copy)[-1])
    assert command("train", "--resume", copy).code == 0
    for line, expected in zip(metrics(copy), metrics(undisturbed), strict=True):
        assert line["step"] == expected["step"]
        assert line["loss"] == pytest.approx(expected["loss"], rel=1e-5)


@pytest.mark.slow
def test_killed_at_random_moments_it_ends_as_if_nothing_had_happened(
    starter: Starter, shapes: Path, undisturbed: Path
) -> None:
    kills = list(killed(starter, shapes, 3, 2, seed=0))
    assert [kill.target for kill in kills] == ["all", "rank 1", "all"]
    assert any(kill.writing for kill in kills)
    assert end_of(starter.here / "run") == end_of(undisturbed)
