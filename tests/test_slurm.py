"""The job script, and `--resume auto`, which is what makes the same command start and restart.

There is no SLURM here. Stand-ins for its commands do what it would: `srun` runs the command once
for each node, with its number; `scancel` signals what `srun` runs; all note how they were called.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest

from distvae.runs import checkpoints
from tests.conftest import CHECKOUT, HANG, SMALL, Command, assert_refused
from tests.training.groups import Starter, starter

__all__ = ["starter"]

JOB = "4242"
HEARD = ["told", "told"]
SRUN = """\
#!/usr/bin/env bash
echo "srun $1" >>"$SLURM_FAKE/calls"
while [[ $1 == -* ]]; do shift; done
steps=()
for ((node = 0; node < SLURM_NNODES; node++)); do
  SLURM_NODEID=$node setsid "$@" &
  steps+=($!)
done
echo "${steps[@]}" >"$SLURM_FAKE/steps"
worst=0
for step in "${steps[@]}"; do
  wait "$step" || worst=$?
done
exit "$worst"
"""
SCANCEL = """\
#!/usr/bin/env bash
echo "scancel $*" >>"$SLURM_FAKE/calls"
[[ $1 == --signal=TERM ]] || exit 1
for step in $(cat "$SLURM_FAKE/steps"); do
  kill -TERM -- "-$step"
done
"""
SCONTROL = """\
#!/usr/bin/env bash
if [[ "$1 $2" == "show hostnames" ]]; then
  printf '127.0.0.1\\n127.0.0.1\\n'
else
  echo "scontrol $*" >>"$SLURM_FAKE/calls"
fi
"""
LAUNCHER = """\
#!/usr/bin/env bash
trap 'echo told >>"$SLURM_FAKE/calls"; exit 5' TERM
touch "$SLURM_FAKE/ready-$NODE_RANK"
for ((turn = 0; turn < ${TURNS:-600}; turn++)); do sleep 0.1; done
exit 7
"""
"""In the place of launch/multi_node.sh where only the job script is in question."""


@dataclass
class Slurm:
    """A cluster of two nodes that are this machine."""

    folder: Path
    environment: dict[str, str]
    started: list["subprocess.Popen[str]"] = field(default_factory=list)

    def begin(self, checkout: Path, *flags: str, **more: str) -> "subprocess.Popen[str]":
        """A start of the job: a copy of the script, run where it was submitted."""
        script = self.folder / "slurm_script"
        script.write_bytes((CHECKOUT / "launch" / "slurm.sh").read_bytes())
        process = subprocess.Popen(
            ["bash", script, *flags],
            cwd=checkout,
            env={**self.environment, **more},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.started.append(process)
        return process

    @property
    def calls(self) -> list[str]:
        """What was called and told, in order."""
        path = self.folder / "calls"
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def slurm(tmp_path: Path, environment: dict[str, str]) -> Iterator[Slurm]:
    folder = tmp_path / "slurm"
    (folder / "bin").mkdir(parents=True)
    for name, text in (("srun", SRUN), ("scancel", SCANCEL), ("scontrol", SCONTROL)):
        (folder / "bin" / name).write_text(text)
        (folder / "bin" / name).chmod(0o755)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    paths = (str(folder / "bin"), str(Path(sys.executable).parent), os.environ["PATH"])
    told = {
        "PATH": os.pathsep.join(paths),
        "SLURM_FAKE": str(folder),
        "SLURM_JOB_ID": JOB,
        "SLURM_NNODES": "2",
        "SLURM_JOB_NODELIST": "node[1-2]",
        "SLURM_CPUS_PER_TASK": "3",
        "MASTER_PORT": str(port),
        "ACCELERATE_USE_CPU": "1",
    }
    cluster = Slurm(folder, {**environment, **told})
    yield cluster
    for process in cluster.started:
        if process.poll() is None:
            for child in psutil.Process(process.pid).children(recursive=True):
                child.kill()
        process.kill()
        process.communicate()


def wait_until(happened: Callable[[], object], process: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + HANG
    while not happened():
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout whose launcher does nothing but wait."""
    launcher = tmp_path / "checkout" / "launch" / "multi_node.sh"
    launcher.parent.mkdir(parents=True)
    launcher.write_text(LAUNCHER)
    launcher.chmod(0o755)
    return tmp_path / "checkout"


@pytest.mark.slow
def test_a_preempted_job_is_requeued_and_ends_as_if_it_had_not_been(
    slurm: Slurm, starter: Starter, shapes: Path, tmp_path: Path
) -> None:
    flags = (
        *("--data", str(shapes), "--hidden", "16", "--latent-dim", "3", "--batch-size", "4"),
        *("--max-steps", "400", "--checkpoint-every", "25", "--eval-every", "50"),
        *("--sample-every", "50", "--mixed-precision", "no", "--threads", "1"),
    )
    whole, run = tmp_path / "whole", tmp_path / "run"
    for ended in starter.plain(*flags, "--output", str(whole)).ended():
        assert ended.code == 0, ended.err

    job = slurm.begin(CHECKOUT, *flags, "--output", str(run))
    wait_until(lambda: checkpoints(run), job)
    job.send_signal(signal.SIGUSR1)
    said = job.communicate(timeout=HANG)[0]
    requeued = ["srun --cpus-per-task=3", f"scancel --signal=TERM {JOB}", f"scontrol requeue {JOB}"]
    assert slurm.calls == requeued, said
    assert "SIGTERM: a checkpoint is written" in said
    newest = checkpoints(run)[-1].name
    assert 25 <= int(newest.removeprefix("step-")) < 400

    again = slurm.begin(CHECKOUT, *flags, "--output", str(run))
    said = again.communicate(timeout=HANG)[0]
    assert again.returncode == 0, said
    assert f"resuming {run} from {run}/checkpoints/{newest}" in said
    assert slurm.calls == [*requeued, "srun --cpus-per-task=3"], said
    one, other = (folder / "model.safetensors" for folder in (whole, run))
    assert one.read_bytes() == other.read_bytes()


@pytest.mark.parametrize(
    ("told", "calls"),
    [
        (signal.SIGUSR1, [f"scancel --signal=TERM {JOB}", *HEARD, f"scontrol requeue {JOB}"]),
        (signal.SIGTERM, HEARD),
    ],
)
def test_the_job_waits_for_training_whatever_it_is_told(
    told: signal.Signals, calls: list[str], slurm: Slurm, checkout: Path
) -> None:
    job = slurm.begin(checkout)
    wait_until(lambda: len(list(slurm.folder.glob("ready-*"))) == 2, job)
    job.send_signal(told)
    if told == signal.SIGTERM:  # which SLURM sends to the nodes as well
        for step in (slurm.folder / "steps").read_text().split():
            os.killpg(int(step), told)
    said = job.communicate(timeout=HANG)[0]
    assert job.returncode == 5, said
    assert slurm.calls == ["srun --cpus-per-task=3", *calls], said


def test_a_job_that_fails_is_not_requeued(slurm: Slurm, checkout: Path) -> None:
    job = slurm.begin(checkout, TURNS="1")
    said = job.communicate(timeout=HANG)[0]
    assert job.returncode == 7, said
    assert slurm.calls == ["srun --cpus-per-task=3"]


def test_outside_of_a_job_the_script_says_how_to_use_it() -> None:
    ended = subprocess.run(
        ["bash", CHECKOUT / "launch" / "slurm.sh"],
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 2
    assert ended.stderr.startswith("error: this is a job script: sbatch launch/slurm.sh")


def test_resume_auto_starts_and_goes_on(command: Command, shapes: Path, here: Path) -> None:
    recipe = here / "tiny.yaml"
    recipe.write_text("hidden: [16]\nlatent_dim: 3\nbatch_size: 12\nmax_steps: 4\n")
    words = ("train", "--config", recipe, "--data", shapes, "--output", "run", "--resume", "auto")

    assert command("train", *words[1:-2], "--output", "whole", "--max-steps", 9).code == 0
    first = command(*words)
    assert (first.code, "resuming" in first.out) == (0, False), first.err
    ended = command(*words)
    assert ended.code == 0, ended.err
    assert "run is finished: it stands at step 4 of 4" in ended.out
    ended = command(*words, "--max-steps", 9)
    assert ended.code == 0, ended.err
    assert "resuming run from run/checkpoints/step-00000004" in ended.out
    one, other = (here / run / "model.safetensors" for run in ("run", "whole"))
    assert one.read_bytes() == other.read_bytes()


def test_resume_auto_and_overwrite_exclude_each_other(
    run: Path, command: Command, shapes: Path
) -> None:
    flags = ("--data", shapes, *SMALL, "--output", run, "--overwrite", "--resume", "auto")
    assert_refused(command("train", *flags), "--resume auto", "--overwrite", "Leave one out")
    assert (run / "model.safetensors").is_file()
