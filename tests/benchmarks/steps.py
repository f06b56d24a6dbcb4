"""Training steps of a processor, and the matrix products they consist of.

    python tests/benchmarks/steps.py products [--layers 784x256,256x128]
    python tests/benchmarks/steps.py turns [--peers-python PATH] [--config mnist-tutorial]

`products` times the three products of each layer by MKL, by oneDNN and by the kernel of compiled
steps.
`turns` times steps of a recipe alone, without what a run does around them: uncaptured, eager with
the products of a library, eager as runs are, compiled with the products of a library, compiled and
uncaptured, compiled as runs are, and JAX, if the python of an environment that holds it is given.
Each is a process of its own; their windows take turns, so that a machine that slows down does so
for all.
"""

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

WINDOWS, STEPS, WARM_UP = 16, 120, 60
TUTORIAL = "784x256,256x128,128x4,2x128,128x256,256x784"
WAYS = (
    "uncaptured",
    "eager-library",
    "eager",
    "compiled-library",
    "compiled-uncaptured",
    "compiled",
)


def products(layers: str, batch: int) -> None:
    """Microseconds and GFLOP/s of the products of each layer; the quickest of many calls."""
    import torch

    from distvae.platform import BLAS, ONEDNN, multiply_by, prepare
    from distvae.training.kernel import multiply, works

    threads = prepare(None)
    print(f"{torch.__version__}, {threads} threads, batch {batch}")
    ways = [BLAS, ONEDNN, *(["own"] if works() else [])]
    totals = dict.fromkeys(ways, 0.0)
    print(f"{'product':22}" + "".join(f"{way:>20}" for way in ways))
    for number, layer in enumerate(layers.split(",")):
        inputs, outputs = map(int, layer.split("x"))
        x, weight = torch.randn(batch, inputs), torch.randn(outputs, inputs)
        gradient = torch.randn(batch, outputs)
        pairs = {"forward": (x, weight.t()), "weights": (gradient.t(), x)}
        if number:  # nobody asks for the gradient of the images
            pairs["inputs"] = (gradient, weight)
        for name, (left, right) in pairs.items():
            out = torch.empty(len(left), right.shape[1])
            line = f"{layer + ' ' + name:22}"
            for way in ways:
                multiply_by(way if way != "own" else ONEDNN)
                call = multiply if way == "own" else _by_library
                micro = _quickest(lambda call=call: call(left, right, out))  # type: ignore[misc]  # noqa: B023
                totals[way] += micro
                line += f"{micro:10.1f} us {2e-3 * batch * inputs * outputs / micro:5.0f}  "
            print(line, flush=True)
    print(f"{'all':22}" + "".join(f"{totals[way]:10.1f} us{'':8}" for way in ways))


def _by_library(left: "object", right: "object", out: "object") -> None:
    import torch

    torch.mm(left, right, out=out)  # type: ignore[call-overload]


def _quickest(call: Callable[[], None]) -> float:
    best = float("inf")
    for _ in range(200):
        started = time.perf_counter()
        for _ in range(3):
            call()
        best = min(best, (time.perf_counter() - started) / 3e-6)
    return best


def turns(recipe: str, ways: Sequence[str], peers_python: str | None) -> None:
    """Medians of windows of steps, and ratios to the first of those that take turns."""
    commands = {way: [sys.executable, __file__, "worker", way, "--config", recipe] for way in ways}
    if peers_python:
        commands = {"jax": [peers_python, __file__, "worker", "jax"], **commands}
    workers = {
        way: subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for way, command in commands.items()
    }
    took: dict[str, list[float]] = {way: [] for way in workers}
    for _ in range(2):
        for worker in workers.values():
            _ask(worker)
    for window in range(WINDOWS):
        for way in list(workers)[:: 1 if window % 2 == 0 else -1]:
            took[way].append(_ask(workers[way]))
    first = next(iter(workers))
    for way, worker in workers.items():
        ratios = sorted(a / b for a, b in zip(took[first], took[way], strict=True))
        quarter = len(ratios) // 4
        print(
            f"{recipe} {way:19} {statistics.median(took[way]):6.0f} us a step, best "
            f"{min(took[way]):6.0f}; as fast as {first}: {statistics.median(ratios):.2f} "
            f"({ratios[quarter]:.2f} to {ratios[-1 - quarter]:.2f})"
        )
        worker.communicate()


def _ask(worker: "subprocess.Popen[str]") -> float:
    """Microseconds of a step in one window of a worker."""
    assert worker.stdin is not None
    assert worker.stdout is not None
    worker.stdin.write("\n")
    worker.stdin.flush()
    return float(worker.stdout.readline())


def work(way: str, recipe: str) -> None:
    """Take a window of steps for each line that is read, and write how long one took."""
    window = _jax_window() if way == "jax" else _window(way, recipe)
    for _ in sys.stdin:
        started = time.perf_counter()
        window()
        print((time.perf_counter() - started) / STEPS * 1e6, flush=True)


def _window(way: str, recipe: str) -> Callable[[], None]:
    import dataclasses

    from distvae.arguments import training
    from distvae.data.store import open_data
    from distvae.platform import prepare
    from distvae.training.accelerator import build_accelerator
    from distvae.training.advance import advance
    from distvae.training.compilation import compiled
    from distvae.training.engine import build_engine
    from distvae.training.planning import make_plan
    from distvae.training.products import choose_library
    from distvae.training.recording import captured

    switches = ["--compile", "on" if way.startswith("compiled") else "off"]
    switches += ["--capture", "off" if way.endswith("uncaptured") else "auto"]
    words = ["--config", recipe, "--epochs", "1000", "--mixed-precision", "no"]
    config = training([*words, *switches]).config
    prepare(None)
    data = open_data(config.data)
    config = config.resolved(data.image_shape[0])
    engine = build_engine(config, data, build_accelerator(config, "runs/steps"))
    choose_library(engine)
    if way.endswith("library"):
        engine = dataclasses.replace(engine, own_products=False)
    engine, _ = captured(compiled(engine))
    engine.wrapped.forward.train()
    at = 0

    def take(count: int) -> None:
        nonlocal at
        while count:
            ends = min(count, engine.steps_per_epoch - at % engine.steps_per_epoch)
            plan = make_plan(engine, at, ends)
            advance(engine, plan)
            engine.state.found(plan.steps)
            at, count = at + plan.steps, count - plan.steps

    take(WARM_UP)
    return lambda: take(STEPS)


def _jax_window() -> Callable[[], None]:
    """The tutorial's model; ``steps.py`` is run where there is no torch."""
    sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2])]
    import jax  # type: ignore[import-not-found]
    import numpy as np
    import peer_jax  # type: ignore[import-not-found]
    from jax import numpy as jnp

    batch, chance = peer_jax.BATCH, np.random.default_rng(0)
    pixels = jnp.asarray(chance.random((60_000, 784), dtype=np.float32))
    model = [peer_jax._dense(jax.random.key(0), peer_jax.ENCODER)]
    model.append(peer_jax._dense(jax.random.key(1), peer_jax.DECODER))
    zeros = jax.tree.map(jnp.zeros_like, model)
    state, number = (model, zeros, zeros, jnp.zeros(())), 0

    @jax.jit  # type: ignore[untyped-decorator]
    def scan(state: object, rows: object, key: object) -> object:
        inputs = (rows, jax.random.split(key, STEPS))
        return jax.lax.scan(lambda held, one: peer_jax._step(pixels, held, one), state, inputs)

    def take() -> None:
        nonlocal state, number
        number += 1
        rows = chance.permutation(60_000)[: STEPS * batch].reshape(STEPS, batch)
        state, losses = scan(state, jnp.asarray(rows), jax.random.key(number))
        losses.block_until_ready()

    return take


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("what", choices=("products", "turns", "worker"))
    parser.add_argument("way", nargs="?", default="")
    parser.add_argument("--layers", default=TUTORIAL)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--config", default="mnist-tutorial")
    parser.add_argument("--peers-python")
    parser.add_argument("--ways", default=",".join(WAYS), help="which of them")
    given = parser.parse_args()
    if given.what == "products":
        products(given.layers, given.batch)
    elif given.what == "turns":
        turns(given.config, given.ways.split(","), given.peers_python)
    else:
        work(given.way, given.config)
