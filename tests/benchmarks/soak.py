"""Train for a long time on several processes and look at what must not grow.

    python tests/benchmarks/soak.py --minutes 30 --processes 2

The tutorial's model, with checkpoints, evaluations and sample sheets far more often than anybody
asks for. Every ten seconds the memory, open files and threads of each process are noted. At the end
the run is told to stop, must leave a whole checkpoint within 30 seconds, and goes on from it.
"""

import argparse
import json
import os
import shlex
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # Accelerate needs it too

from distvae.runs import checkpoints

FLAGS = shlex.split(
    "--config mnist-tutorial --epochs 100000 --schedule constant --checkpoint-every 500 "
    "--eval-every 2 --sample-every 10"
)
PERIOD, GRACE, WARM = 10.0, 30.0, 0.1
"""Seconds between looks, seconds to stop in, the part of the time that is not judged."""


@dataclass(frozen=True)
class Look:
    """What the processes of a run hold together."""

    megabytes: float
    """Anonymous memory."""
    files: int
    threads: int


def look(launcher: "subprocess.Popen[bytes]") -> Look:
    """At the processes that a launcher started."""
    found = psutil.Process(launcher.pid).children()
    anonymous = sum(part.memory_info().rss - part.memory_info().shared for part in found)
    return Look(
        anonymous / 2**20,
        sum(part.num_fds() for part in found),
        sum(part.num_threads() for part in found),
    )


def start(folder: Path, processes: int, flags: Sequence[str]) -> "subprocess.Popen[bytes]":
    """A run under torch's launcher; what it says goes to a file."""
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes))
    command = [sys.executable, *launcher, "-m", "distvae.cli", "train", *flags]
    with (folder / "said.txt").open("ab") as said:
        return subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, "ACCELERATE_USE_CPU": "1", "OMP_NUM_THREADS": "1"},
            stdout=said,
            stderr=said,
        )


def steps_and_speeds(run: Path) -> tuple[int, list[float]]:
    """The last step and the images/s of each line of the log."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    trained = [line for line in lines if line["split"] == "train"]
    return int(trained[-1]["step"]), [line["images_per_second"] for line in trained]


def part(values: Sequence[float], low: float, high: float) -> float:
    """Median of a part of a sequence in time, its ends as shares."""
    return statistics.median(values[int(low * len(values)) : max(1, int(high * len(values)))])


def soak(folder: Path, minutes: float, processes: int) -> None:
    """Train, look, stop, go on; print what was found."""
    run, looks = folder / "run", []
    launcher = start(folder, processes, [*FLAGS, "--output", "run"])
    end = time.monotonic() + 60.0 * minutes
    while time.monotonic() < end:
        time.sleep(PERIOD)
        if launcher.poll() is not None:
            sys.exit((folder / "said.txt").read_text()[-3000:])
        looks.append(look(launcher))
    launcher.send_signal(signal.SIGTERM)
    stopped = time.monotonic()
    launcher.wait(GRACE + PERIOD)
    seconds = time.monotonic() - stopped
    step, speeds = steps_and_speeds(run)
    saved = int(checkpoints(run)[-1].name.removeprefix("step-"))
    again = start(folder, processes, ["--resume", "run", "--max-steps", str(saved + 1000)])
    if again.wait(300):
        sys.exit((folder / "said.txt").read_text()[-3000:])
    for name in ("megabytes", "files", "threads"):
        values = [float(vars(each)[name]) for each in looks]
        early, late = part(values, WARM, 2 * WARM), part(values, 1.0 - WARM, 1.0)
        print(f"{name}: {early:,.0f} early, {late:,.0f} at the end, most {max(values):,.0f}")
    early, late = part(speeds, WARM, 2 * WARM), part(speeds, 1.0 - WARM, 1.0)
    print(f"images/s: {early:,.0f} early, {late:,.0f} at the end")
    print(f"{step:,} steps; stopped within {seconds:.1f} s at step {saved:,}, went on from there")


def main() -> None:
    """Soak in a folder of its own."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        soak(Path(folder), options.minutes, options.processes)


if __name__ == "__main__":
    main()
