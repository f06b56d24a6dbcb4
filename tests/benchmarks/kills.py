"""Kill a run again and again, go on each time, and compare its end with an undisturbed run.

    python tests/benchmarks/kills.py --kills 20 --processes 2

Each kill comes at a random moment, every second one while a checkpoint is being written; it takes
all processes, or one of them, whose loss the others must notice. Weights, moments, metrics and what
early stopping remembers must be those of the undisturbed run, byte for byte.
"""

import argparse
import hashlib
import json
import os
import random
import shlex
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from distvae.files import TEMPORARY
from distvae.runs import checkpoints
from tests.conftest import CHECKOUT, write_shapes
from tests.training.groups import Group, Starter, starting

STEPS = 360  # 40 epochs of the 108 images that are not held out
FLAGS = shlex.split(
    "--hidden 16 --latent-dim 3 --batch-size 12 --epochs 40 --ema 0.9 --clip 50 --schedule cosine "
    "--warmup-epochs 0.5 --kl-warmup-epochs 3 --early-stopping 40 --log-every 1 --sample-every 100 "
    "--mixed-precision no"
)
RARELY = 60


@dataclass(frozen=True)
class Kill:
    """One kill and what it left."""

    target: str
    """`all`, or the rank."""
    step: int
    """Of the newest line in metrics.jsonl."""
    checkpoint: int
    """Step of the newest checkpoint, 0 for none."""
    writing: bool
    """Whether an unfinished checkpoint lay there."""
    seconds: float
    """Until the last process had ended."""


def end_of(run: Path) -> dict[str, str]:
    """Digests of all that must not depend on what happened on the way."""
    last = checkpoints(run)[-1]
    weights = [run / "model.safetensors", last / "optimizer.safetensors"]
    found = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in weights}
    found["metrics"] = hashlib.sha256(json.dumps(metrics(run)).encode()).hexdigest()
    trainer = json.loads((last / "trainer.json").read_text(encoding="utf-8"))
    for name in ("step", "best_loss", "evaluations_since_best"):
        found[name] = str(trainer[name])
    return found


def metrics(run: Path) -> list[dict[str, Any]]:
    """What was measured, but for the speed."""
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [
        {key: value for key, value in json.loads(line).items() if key != "images_per_second"}
        for line in lines
    ]


def killed(starter: Starter, data: Path, kills: int, size: int, seed: int) -> Iterator[Kill]:
    """Train in ``run`` through ``kills`` kills to the end."""
    chance, run = random.Random(seed), starter.here / "run"
    group = starter.plain(
        *("--data", data, *FLAGS, "--output", "run", "--checkpoint-every", 1), size=size
    )
    for number in range(kills):
        group.wait_for_step(round((number + 1) * STEPS / (kills + 2)))
        if number % 2 == 0:
            wait_for_writing(run)
        else:
            time.sleep(chance.uniform(0, 0.1))
        yield take_down(group, number, size, chance)
        every = RARELY if number % 2 == 0 else 1  # that much is lost, or it is caught writing
        group = starter.plain("--resume", "run", "--checkpoint-every", every, size=size)
    for ended in group.ended():
        if ended.code:
            raise RuntimeError(ended.err)


def wait_for_writing(run: Path) -> None:
    """Return while a checkpoint is being written."""
    deadline = time.monotonic() + 30
    while not any((run / "checkpoints").glob(f"{TEMPORARY}*")) and time.monotonic() < deadline:
        pass


def take_down(group: Group, number: int, size: int, chance: random.Random) -> Kill:
    """Kill all processes or, every third time, one, and see what is left."""
    rank = chance.randrange(size) if number % 3 == 1 else None
    started = time.monotonic()
    for process in group.processes if rank is None else [group.processes[rank]]:
        process.kill()
    codes = [ended.code for ended in group.ended()]
    seconds = time.monotonic() - started
    expected = [-9 if rank in (None, other) else 3 for other in range(size)]
    if codes != expected:
        raise RuntimeError(f"exit codes {codes}, expected {expected}")
    saved = checkpoints(group.run)
    return Kill(
        "all" if rank is None else f"rank {rank}",
        metrics_step(group.run),
        int(saved[-1].name.removeprefix("step-")) if saved else 0,
        any((group.run / "checkpoints").glob(f"{TEMPORARY}*")),
        seconds,
    )


def metrics_step(run: Path) -> int:
    """Step of the newest whole line."""
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return int(json.loads(lines[-2])["step"])


def main() -> int:
    """Print a row for each kill, and whether the end is the same."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        here, data = Path(folder), Path(folder, "shapes")
        for split, count, seed in (("train", 40, 0), ("test", 17, 1)):
            write_shapes(data / split, count, seed)
        environment = {
            **{name: value for name, value in os.environ.items() if "RANK" not in name},
            "PYTHONPATH": str(CHECKOUT),
            "OMP_NUM_THREADS": "1",
            "DISTVAE_CACHE": str(here / "cache"),
        }
        with starting(here, environment) as starter:
            flags = ("--data", data, *FLAGS, "--checkpoint-every", 20, "--output", "undisturbed")
            for ended in starter.plain(*flags, size=given.processes).ended():
                if ended.code:
                    raise RuntimeError(ended.err)
            print("| kill | of | step | newest checkpoint | caught writing | all ended after |")
            print("| ---: | --- | ---: | ---: | --- | ---: |")
            rows = killed(starter, data, given.kills, given.processes, given.seed)
            for number, row in enumerate(rows, 1):
                caught = "yes" if row.writing else "no"
                told = f"{row.step} | {row.checkpoint} | {caught} | {row.seconds:.1f} s"
                print(f"| {number} | {row.target} | {told} |", flush=True)
            ends = end_of(here / "run"), end_of(here / "undisturbed")
    same = {name: ends[0][name] == ends[1][name] for name in ends[1]}
    print("\nthe same as undisturbed:", ", ".join(f"{name} {same[name]}" for name in same))
    return 0 if all(same.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
