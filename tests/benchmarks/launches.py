"""How many kernels a training step launches, counted on a CPU: operators, and what is compiled.

    python tests/benchmarks/launches.py [RECIPE ...] [--compile] [--names]

An operator counts once where it computes something: views and empty tensors do not. A GPU launches
about as many kernels. Of a compiled step what inductor calls is counted: its own kernels and those
of libraries.
"""

# torch leaves its modes untyped
# mypy: disable-error-code="no-untyped-call"

import argparse
import re
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode

from distvae.config import TrainConfig
from distvae.data.store import open_data
from distvae.platform import prepare
from distvae.recipes import read_recipe
from distvae.training.accelerator import build_accelerator
from distvae.training.advance import advance
from distvae.training.compilation import compiled
from distvae.training.engine import Engine, build_engine
from distvae.training.planning import make_plan

RECIPES = ["mnist-tutorial", "mnist-cvae"]
NOTHING = re.compile(r"empty|detach|alias|lift|as_strided|_unsafe_view|is_same_size|sym_|set_")
"""Operators that are no views by torch's word and launch nothing."""


class Launches(TorchDispatchMode):
    """Counts operators by name."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        name = func._schema.name.removeprefix("aten::")
        if not func.is_view and not NOTHING.search(name):
            self.found[name] += 1
        return func(*args, **(kwargs or {}))


def engine_of(config: TrainConfig) -> Engine:
    """The engine of a run that is never written."""
    data = open_data(config.data)
    config = config.resolved(data.channels)
    with tempfile.TemporaryDirectory() as folder:
        return build_engine(config, data, build_accelerator(config, folder))


def of_eager_step(engine: Engine) -> Counter[str]:
    """What one step calls, after a first one."""
    advance(engine, make_plan(engine, 0, 1))
    plan = make_plan(engine, 1, 1)
    with Launches() as launches:
        advance(engine, plan)
    found: Counter[str] = launches.found
    return found


def of_compiled_step(engine: Engine) -> Counter[str]:
    """What the code that inductor writes for a step calls."""
    from torch._inductor.utils import run_and_get_code

    engine = compiled(engine)
    _, codes = run_and_get_code(advance, engine, make_plan(engine, 0, 1))
    return Counter(call for code in codes for call in _calls(code))


def _calls(code: str) -> Iterator[str]:
    body = code[code.index("def call(") :]
    yield from re.findall(r"^\s+(extern_kernels\.\w+)\(", body, re.M)
    yield from re.findall(r"^\s+(?:buf\w* = )?(torch\.ops\.[\w.]+)\(", body, re.M)
    yield from ("cpp" for _ in re.finditer(r"^\s+cpp_fused\w*\(", body, re.M))
    yield from ("triton" for _ in re.finditer(r"^\s+triton_\w+\.run\(", body, re.M))


def main() -> None:
    """Print a line for each recipe."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipes", nargs="*", default=RECIPES)
    parser.add_argument("--compile", action="store_true", help="count a compiled step, too")
    parser.add_argument("--names", action="store_true", help="name what was counted")
    flags = parser.parse_args()
    prepare(1)
    for name in flags.recipes:
        path = name if not Path(name).exists() else str(Path(name))
        changes = {"mixed_precision": "no", "compile": "on" if flags.compile else "off"}
        config = read_recipe(path).updated({**changes, "threads": 1}, "the command line")
        kinds = {"eager": of_eager_step(engine_of(config))}
        if flags.compile:
            kinds["compiled"] = of_compiled_step(engine_of(config))
        for kind, found in kinds.items():
            print(f"{name:20s} {kind:9s} {sum(found.values()):5d}")
            if flags.names:
                print("    " + ", ".join(f"{count} {op}" for op, count in found.most_common()))


if __name__ == "__main__":
    main()
