"""What exactness costs: random numbers by step, one data order, checkpoints.

    python tests/benchmarks/exactness.py --rounds 5

``free`` is the same ``distvae train`` with numbers from one generator that runs on and an order by
``torch.randperm``: what a run without exact resume would take. Both kinds take turns, each in a
process of its own. A checkpoint's time is that of writing and syncing all of it, moments included,
as training waits for it.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

WORKLOADS = {"mnist-tutorial": 1800, "mnist-cvae": 900, "mnist-vae-conv": 150}
CHECKPOINTS = 5


def free() -> None:
    """Draw from a generator that runs on, and order by it."""
    import torch

    from distvae.batch import Noise
    from distvae.draws.steps import NoiseSource
    from distvae.training import engine

    def draw(self: NoiseSource, step: int | torch.Tensor, positions: slice) -> Noise:
        batch_size = positions.stop - positions.start
        latent = torch.randn(batch_size, *self._latent_shape)
        if self._uniforms_shape is None:
            return Noise(latent, None)
        shape = (batch_size, *self._uniforms_shape)
        return Noise(latent, torch.randint(-(2**15), 2**15, shape, dtype=torch.int16))

    NoiseSource.draw = draw  # type: ignore[method-assign]
    vars(engine)["epoch_order"] = lambda size, seed, epoch: torch.randperm(size).numpy()


def timed_checkpoints(seconds: list[float]) -> None:
    """Note how long each takes."""
    from distvae.training import loop
    from distvae.training.session import Session

    whole = loop.checkpoint

    def checkpoint(session: Session) -> None:
        loop.log_window(session)
        started = time.perf_counter()
        whole(session)
        seconds.append(time.perf_counter() - started)

    loop.checkpoint = checkpoint


def run(kind: str, recipe: str, steps: int, folder: Path) -> tuple[float, float]:
    """Images/s and seconds of a checkpoint, medians, of one training process."""
    words = [sys.executable, __file__, "--as", kind, recipe, str(steps), str(folder)]
    told = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True).stdout
    lines = map(json.loads, (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
    rates = [line["images_per_second"] for line in lines if line["split"] == "train"]
    return statistics.median(rates[len(rates) // 3 :]), float(told.splitlines()[-1])


def child(kind: str, recipe: str, steps: str, folder: str) -> int:
    """One training process."""
    from distvae.cli import main

    if kind == "free":
        free()
    seconds: list[float] = []
    timed_checkpoints(seconds)
    flags = {
        "config": recipe,
        "output": folder,
        "max-steps": steps,
        "epochs": 1000,
        "log-every": 50,
        "eval-every": 1000,
        "sample-every": 1000,
        "checkpoint-every": int(steps) // CHECKPOINTS,
    }
    code = main(["train", *(str(w) for flag, value in flags.items() for w in (f"--{flag}", value))])
    sys.stdout.write(f"\n{statistics.median(seconds)}\n")
    return code


def main() -> None:
    """A row for each recipe."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--recipes", default=",".join(WORKLOADS))
    given = parser.parse_args()
    sys.stdout.write(f"load average {os.getloadavg()[0]:.2f}\n")
    for recipe in given.recipes.split(","):
        found: dict[str, list[tuple[float, float]]] = {"exact": [], "free": []}
        for _ in range(given.rounds):
            for kind, rows in found.items():
                with tempfile.TemporaryDirectory() as scratch:
                    rows.append(run(kind, recipe, WORKLOADS[recipe], Path(scratch, "run")))
        exact, loose = (statistics.median(r for r, _ in found[kind]) for kind in found)
        saving = statistics.median(s for rows in found.values() for _, s in rows)
        sys.stdout.write(
            f"{recipe}: exact {exact:,.0f} images/s, free {loose:,.0f}, exactness costs "
            f"{1 - exact / loose:.1%}; a checkpoint {1e3 * saving:,.0f} ms, one a minute "
            f"{saving / 60:.2%}\n"
        )
        sys.stdout.flush()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--as"]:
        from distvae.cli import end_process

        end_process(child(*sys.argv[2:]))
    main()
