"""Seconds from a data set's name to the end of the first training step, imports apart.

python tests/benchmarks/start.py CACHE_FOLDER      twice: the first time the folder is empty
"""

import sys
import time

from distvae.config import TrainConfig
from distvae.data.store import open_data
from distvae.training.accelerator import build_accelerator
from distvae.training.advance import advance
from distvae.training.engine import build_engine
from distvae.training.planning import make_plan


def main() -> None:
    """Open the default data, build the default model, take one step."""
    config = TrainConfig().updated({"cache_dir": sys.argv[1]}, "the command line")
    started = time.perf_counter()
    data = open_data(config.data)
    opened = time.perf_counter()
    config = config.resolved(data.image_shape[0])
    engine = build_engine(config, data, build_accelerator(config, sys.argv[1]))
    advance(engine, make_plan(engine, 0, 1))
    ended = time.perf_counter()
    print(f"data {opened - started:.2f} s, to the end of the first step {ended - started:.2f} s")


if __name__ == "__main__":
    main()
