"""What a step costs with a critic or a likeness of images, as a multiple of one without.

    python tests/benchmarks/critic_steps.py [--seconds 50]

Steps are those of `mnist-vae-gan` on one thread in float32, from the first of which the model hears
its critic. Each variant is a process of its own; they take turns on a machine that is otherwise
idle. A ratio is that of two neighbouring turns; the median of all is given, the lowest and the
highest.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

STEPS, WARM_UP, IMAGES = 8, 3, 60_000
OF_RECIPE = "critic", "critic_weight", "critic_width", "critic_start", "critic_lead"
WITHOUT: dict[str, Any] = dict.fromkeys(OF_RECIPE)
AT_ONCE = {"critic_start": 0, "critic_lead": 0}
TOLD = {"model": "cvae", "critic": "patch", **AT_ONCE}
VARIANTS: dict[str, dict[str, Any]] = {
    "without": WITHOUT,
    "ms_ssim": {**WITHOUT, "perceptual": "ms_ssim"},
    "patch": {"critic": "patch", **AT_ONCE},
    "features": AT_ONCE,
    "patch, width 64": {"critic": "patch", "critic_width": 64, **AT_ONCE},
    "cvae, patch": TOLD,
    "cvae, patch told": {**TOLD, "critic_conditional": True},
}


def work(variant: str) -> None:
    """Take as many steps as each line of the input says, and print the seconds of one."""
    steps = stepper(variant)
    steps(WARM_UP)
    print("ready", flush=True)
    for line in sys.stdin:
        print(f"seconds {steps(int(line))}", flush=True)


def stepper(variant: str) -> Callable[[int], float]:
    """(steps) -> the seconds of one of them."""
    import torch

    from distvae.data.store import open_data
    from distvae.recipes import read_recipe
    from distvae.training.accelerator import build_accelerator
    from distvae.training.advance import advance
    from distvae.training.engine import build_engine
    from distvae.training.planning import make_plan

    torch.set_num_threads(1)
    settings = {**VARIANTS[variant], "mixed_precision": "no", "threads": 1}
    config = read_recipe("mnist-vae-gan").updated(settings, variant)
    data = open_data(config.data)
    config = config.resolved(data.image_shape[0])
    engine = build_engine(config, data, build_accelerator(config, tempfile.mkdtemp()))
    taken = 0

    def steps(count: int) -> float:
        nonlocal taken
        rows = torch.randint(IMAGES, (count, config.optim.batch))
        plan, _ = make_plan(engine, taken, count, rows).divided(count)
        began = time.perf_counter()
        advance(engine, plan)
        engine.state.found(count)
        taken += count
        return (time.perf_counter() - began) / count

    return steps


def answer(worker: "subprocess.Popen[str]", word: str) -> str:
    """The rest of the first line that begins with a word; a library may say something else."""
    assert worker.stdout is not None
    for line in worker.stdout:
        if line.startswith(word):
            return line.removeprefix(word).strip()
    raise SystemExit("a variant ended")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--seconds", type=float, default=50.0, help="of all turns together")
    parser.add_argument("--variant", choices=VARIANTS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.variant:
        return work(given.variant)
    end = time.monotonic() + given.seconds
    workers = {
        name: subprocess.Popen(
            [sys.executable, __file__, "--variant", name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in VARIANTS
    }
    for worker in workers.values():
        answer(worker, "ready")
    found: dict[str, list[float]] = {name: [] for name in VARIANTS}
    while time.monotonic() < end or not found["without"]:
        for name, worker in workers.items():
            assert worker.stdin is not None
            worker.stdin.write(f"{STEPS}\n")
            worker.stdin.flush()
            found[name].append(float(answer(worker, "seconds")))
    for worker in workers.values():
        worker.kill()
    print("| | milliseconds | times as long |\n| --- | ---: | ---: |")
    for name, each in found.items():
        ratios = [own / without for own, without in zip(each, found["without"], strict=True)]
        between = f"{min(ratios):.2f} to {max(ratios):.2f}"
        told = f"{statistics.median(ratios):.2f} ({between})"
        print(f"| {name} | {1e3 * statistics.median(each):.1f} | {told} |")


if __name__ == "__main__":
    main()
