"""What drawing random numbers costs of a training step, on this machine.

python tests/benchmarks/draws.py CACHE_FOLDER [RECIPE ...]
"""

import sys
import time
from collections.abc import Callable

from distvae.data.store import open_data
from distvae.platform import prepare
from distvae.recipes import read_recipe
from distvae.training.accelerator import build_accelerator
from distvae.training.advance import advance
from distvae.training.engine import Engine, build_engine
from distvae.training.planning import make_plan

RECIPES = ["mnist-tutorial", "mnist-cvae", "burda-dreg-short", "burda-dreg"]
DRAWS, STEPS = 200, 20


def draw(engine: Engine, step: int) -> None:
    """Draw a step's noise, as one process takes it."""
    for positions in engine.shards:
        engine.noise.draw(step, positions)


def take(engine: Engine, step: int) -> None:
    """Take a step, with its draws."""
    advance(engine, make_plan(engine, step, 1))


def quickest(what: Callable[[Engine, int], None], engine: Engine, count: int) -> float:
    """Seconds of processor time of the quickest of so many, so that other work counts little."""
    seconds = []
    for step in range(count):
        started = time.process_time()
        what(engine, step)
        seconds.append(time.process_time() - started)
    return min(seconds)


def main() -> None:
    """Print a line for each recipe."""
    print("recipe               draw, us   step, ms   share")
    prepare(1)
    for name in sys.argv[2:] or RECIPES:
        changes = {"cache_dir": sys.argv[1], "threads": 1, "mixed_precision": "no"}
        config = read_recipe(name).updated(changes, "the command line")
        data = open_data(config.data)
        config = config.resolved(data.channels)
        engine = build_engine(config, data, build_accelerator(config, sys.argv[1]))
        drawn, step = quickest(draw, engine, DRAWS), quickest(take, engine, STEPS)
        print(f"{name:20s} {1e6 * drawn:8.0f} {1e3 * step:10.2f} {drawn / step:7.1%}")


if __name__ == "__main__":
    main()
