"""Everything that is claimed of a GPU, measured by one command.

    python tests/benchmarks/gpu.py                          on a GPU, under 8 minutes
    python tests/benchmarks/gpu.py --device cpu --small     that every part runs, without one
    python tests/benchmarks/gpu.py --parts exact,speed      some of them

What is not timed comes first, several processes beside each other; what is timed has the GPU for
itself. Each part has a time limit. A part that fails says why, and the others go on. What a part
found is printed as it finds it and written to a file; at the end come all rows as a table, and the
claims with what was measured. It needs what training needs, and no installation: torch, accelerate,
datasets.
"""

import argparse
import functools
import importlib
import json
import os
import platform
import sys
import tempfile
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
if str(CHECKOUT) not in sys.path:  # this file may be run as a script, without an installation
    sys.path.insert(0, str(CHECKOUT))

from tests.benchmarks.on_gpu import claims  # noqa: E402
from tests.benchmarks.on_gpu.lanes import Row, Worker, run_lane  # noqa: E402
from tests.benchmarks.on_gpu.row import END, MARK, Part, Setting  # noqa: E402

BESIDE = {
    "exact": ("steps", 80),
    "exact_compiled": ("steps", 85),
    "agreement": ("runs", 80),
    "resume": ("runs", 80),
    "reasons": ("runs", 80),
    "precisions": ("runs", 85),
}
"""Module of a part and the most seconds it may take; these run beside each other."""
ALONE = {
    "speed": ("steps", 40),
    "whole": ("runs", 50),
    "peers": ("peers", 28),
    "likelihood": ("evaluating", 35),
    "busy": ("steps", 18),
    "noise": ("steps", 12),
    "jax": ("peers", 25),
    "speed_compiled": ("steps", 40),
    "busy_compiled": ("steps", 25),
    "processes": ("runs", 35),
    "full": ("steps", 12),
    "data": ("steps", 20),
    "sampling": ("evaluating", 10),
    "bounds": ("evaluating", 8),
    "judges": ("evaluating", 15),
    "fit_prior": ("runs", 12),
    "products": ("steps", 8),
}
"""The same of what has the machine for itself; what matters most is first."""
PARTS = {**BESIDE, **ALONE}
SLOWER = 6
"""Times as long where sizes are small: then it runs where nothing is to be measured."""
OVERHEAD = 4.0
"""Seconds that are kept for the tables at the end."""


def worker_of(flags: argparse.Namespace) -> Worker:
    """A process that runs parts."""
    words = [sys.executable, str(Path(__file__).resolve()), "--worker"]
    words += ["--device", flags.device, *["--small"] * flags.small]
    paths = os.pathsep.join(filter(None, (str(CHECKOUT), os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "PYTHONPATH": paths, "DISTVAE_PROGRESS": "off"}
    return Worker(words, environment, str(CHECKOUT))


def machine(device: str) -> str:
    """What it is measured on."""
    import torch

    card = torch.cuda.get_device_name() if device == "cuda" else platform.processor() or "CPU"
    versions = f"Python {platform.python_version()}, torch {torch.__version__}"
    return f"{card}, {os.cpu_count()} cores, {versions}"


class Table:
    """The rows that were found, printed and written down one by one.

    Args:
        output: a file for them as JSON.
    """

    def __init__(self, output: Path) -> None:
        self.rows: list[Row] = []
        self._output, self._lock = output, threading.Lock()

    def add(self, row: Row) -> None:
        """One more; any thread may call it."""
        with self._lock:
            self.rows.append(row)
            print(row.line(), flush=True)
            text = json.dumps([vars(each) for each in self.rows], indent=1)
            self._output.write_text(text + "\n", encoding="utf-8")


def measure(flags: argparse.Namespace) -> int:
    """Run the parts, print the tables, and return 0 where all is as expected."""
    begun, table = time.monotonic(), Table(Path(flags.output))
    head = "| part | what | found | expected | holds |\n| --- | --- | ---: | ---: | --- |"
    print(machine(flags.device), flush=True)
    print(head, flush=True)
    start = functools.partial(worker_of, flags)

    def left() -> float:
        spent = time.monotonic() - begun
        return float(60.0 * flags.minutes - OVERHEAD - spent)

    def limits(names: list[str]) -> list[tuple[str, float]]:
        return [(name, PARTS[name][1] * (SLOWER if flags.small else 1)) for name in names]

    beside = [name for name in flags.parts if name in BESIDE]
    with ThreadPoolExecutor(len(BESIDE) if flags.device == "cuda" else 1) as pool:
        lanes = [pool.submit(run_lane, limits([name]), start, left, table.add) for name in beside]
    for lane in lanes:
        lane.result()
    alone = [name for name in flags.parts if name in ALONE]
    if alone:
        run_lane(limits(alone), start, left, table.add)
    print(f"\n{machine(flags.device)}; {time.monotonic() - begun:.0f} s\n\n{head}")
    rows = sorted(table.rows, key=lambda row: list(PARTS).index(row.part))
    for row in rows:
        print(row.line())
    wrong = [row for row in rows if row.good is False]
    unmeasured = [row for row in rows if row.found.startswith("not measured")]
    print(f"\n{len(rows)} rows; not as expected: {len(wrong)}; not measured: {len(unmeasured)}")
    print("\n" + "\n".join(claims.lines_of(rows)))
    print(f"\nwritten to {flags.output}", flush=True)
    return 1 if wrong else 0


def work(flags: argparse.Namespace) -> None:
    """Run the parts whose names come by the standard input, until one fails."""
    for line in sys.stdin:
        name, why = line.strip(), ""
        module = importlib.import_module(f"tests.benchmarks.on_gpu.{PARTS[name][0]}")
        part: Part = getattr(module, name)
        with tempfile.TemporaryDirectory(prefix="distvae-gpu-", ignore_cleanup_errors=True) as path:
            try:
                part(Setting(flags.device, flags.small, Path(path)))
            except ImportError as error:
                row = {"what": "the rest of the part", "found": f"not measured: {error}"}
                print(MARK + json.dumps(row), flush=True)
            except Exception as error:
                traceback.print_exc()
                why = f"{type(error).__name__}: {' '.join(str(error).split())[:280]}"
        sys.stderr.flush()
        print(END + json.dumps(why), flush=True)
        forget(flags.device)


def forget(device: str) -> None:
    """Leave nothing of a part to the next one."""
    import gc

    import torch

    gc.collect()
    if device == "cuda":
        torch.cuda.empty_cache()


def read_flags() -> argparse.Namespace:
    """The flags, checked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--small", action="store_true", help="sizes only large enough to run")
    parser.add_argument("--parts", default=",".join(PARTS), help="which, in this order")
    parser.add_argument("--minutes", type=float, default=7.8, help="for all of it")
    parser.add_argument("--output", default="gpu.json", help="a file for the rows as JSON")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    flags = parser.parse_args()
    flags.parts = flags.parts.split(",")
    unknown = sorted(set(flags.parts) - set(PARTS))
    if unknown:
        parser.error(f"unknown parts: {', '.join(unknown)}; expected some of {', '.join(PARTS)}")
    return flags


def main() -> None:
    """Measure, or run parts for another process."""
    flags = read_flags()
    if flags.worker:
        work(flags)
        return
    sys.exit(measure(flags))


if __name__ == "__main__":
    main()
