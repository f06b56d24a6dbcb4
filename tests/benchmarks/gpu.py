"""Everything that is claimed of a GPU, measured by one command.

    python tests/benchmarks/gpu.py                          on a GPU, under 8 minutes
    python tests/benchmarks/gpu.py --device cpu --small     that every part runs, without one
    python tests/benchmarks/gpu.py --parts exact,speed      some of them

Each part runs in a process of its own and has a time limit. A part that fails says why, and the
others go on. What a part found is printed as it finds it, and all of it again at the end as a
table in Markdown. It needs what training needs, and no installation: torch, accelerate, datasets.
"""

import argparse
import contextlib
import importlib
import json
import os
import platform
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[2]
if str(CHECKOUT) not in sys.path:  # this file may be run as a script, without an installation
    sys.path.insert(0, str(CHECKOUT))

from tests.benchmarks.on_gpu.row import MARK, Part, Setting  # noqa: E402

PARTS = {
    "exact": ("steps", 70),
    "noise": ("steps", 45),
    "agreement": ("runs", 90),
    "speed": ("steps", 60),
    "peers": ("peers", 60),
    "busy": ("steps", 80),
    "likelihood": ("evaluating", 80),
    "whole": ("runs", 150),
    "resume": ("runs", 60),
    "reasons": ("runs", 90),
    "processes": ("runs", 60),
    "exact_compiled": ("steps", 60),
    "speed_compiled": ("steps", 110),
    "jax": ("peers", 60),
    "full": ("steps", 30),
    "data": ("steps", 40),
    "sampling": ("evaluating", 30),
    "bounds": ("evaluating", 30),
    "judges": ("evaluating", 40),
    "products": ("steps", 40),
}
"""Module of a part, and the most seconds it may take; what matters most is first."""
SLOWER = 4
"""Times as long where sizes are small: then it runs where nothing is to be measured."""
OVERHEAD = 3.0
"""Seconds that are kept for the table at the end."""


@dataclass(frozen=True)
class Row:
    """What a part found, as a line of the table."""

    part: str
    what: str
    found: str
    expected: str = ""
    good: bool | None = None

    @property
    def verdict(self) -> str:
        """Whether it holds what is expected."""
        return {None: "", True: "yes", False: "NO"}[self.good]

    def line(self) -> str:
        """As Markdown."""
        cells = self.part, self.what, self.found, self.expected, self.verdict
        return "| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |"


def rows_of(name: str, flags: argparse.Namespace, seconds: float) -> Iterator[Row]:
    """What a part finds in its own process, as it finds it."""
    with tempfile.TemporaryDirectory(prefix="distvae-gpu-") as scratch, open_log() as log:
        words = [sys.executable, str(Path(__file__).resolve()), "--part", name]
        words += ["--device", flags.device, "--scratch", scratch, *["--small"] * flags.small]
        environment = {**os.environ, "PYTHONPATH": str(CHECKOUT), "DISTVAE_PROGRESS": "off"}
        running = subprocess.Popen(
            words,
            env=environment,
            cwd=CHECKOUT,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=True,
        )
        until, found = time.monotonic() + seconds, 0
        for line in lines_until(running, until):
            if line.startswith(MARK):
                found += 1
                yield Row(name, **json.loads(line.removeprefix(MARK)))
        late = running.poll() is None
        if late:
            end(running)
        code = running.wait()
        if late:
            yield Row(name, "the whole part", f"stopped after {seconds:.0f} s", "", False)
        elif code:
            log.seek(0)
            told = [line for line in log.read().splitlines() if line.strip()]
            yield Row(
                name, "the whole part", f"failed: {(told or [str(code)])[-1][:300]}", "", False
            )
            sys.stderr.write("\n".join(told[-25:]) + "\n")
        elif not found:
            yield Row(name, "the whole part", "told nothing", "", False)


def open_log() -> Any:
    """Where a part's standard error goes."""
    return tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")


def lines_until(running: "subprocess.Popen[str]", until: float) -> Iterator[str]:
    """The lines that a process writes, until it ends or this time has come."""
    found: queue.Queue[str | None] = queue.Queue()

    def read() -> None:
        assert running.stdout is not None
        for line in running.stdout:
            found.put(line)
        found.put(None)

    threading.Thread(target=read, daemon=True).start()
    with contextlib.suppress(queue.Empty, subprocess.TimeoutExpired):
        while (line := found.get(timeout=max(0.0, until - time.monotonic()))) is not None:
            yield line
        running.wait(max(1.0, until - time.monotonic()))


def end(running: "subprocess.Popen[str]") -> None:
    """End a process and those that it started."""
    os.killpg(running.pid, signal.SIGKILL)


def machine(device: str) -> str:
    """What it is measured on."""
    import torch

    card = torch.cuda.get_device_name() if device == "cuda" else platform.processor() or "CPU"
    versions = f"Python {platform.python_version()}, torch {torch.__version__}"
    return f"{card}, {os.cpu_count()} cores, {versions}"


def measure(flags: argparse.Namespace) -> int:
    """Run the parts, print the table, and return 0 where all is as expected."""
    begun, rows = time.monotonic(), []
    head = "| part | what | found | expected | holds |\n| --- | --- | ---: | ---: | --- |"
    print(machine(flags.device), flush=True)
    print(head, flush=True)
    for name in flags.parts:
        left = 60.0 * flags.minutes - OVERHEAD - (time.monotonic() - begun)
        found = (
            rows_of(name, flags, min(left, PARTS[name][1] * (SLOWER if flags.small else 1)))
            if left > 5.0
            else iter([Row(name, "the whole part", "not measured: no time was left")])
        )
        for row in found:
            rows.append(row)
            print(row.line(), flush=True)
    print(f"\n{machine(flags.device)}; {time.monotonic() - begun:.0f} s\n\n{head}")
    for row in rows:
        print(row.line())
    wrong = [row for row in rows if row.good is False]
    unmeasured = [row for row in rows if row.found.startswith("not measured")]
    print(f"\n{len(rows)} rows; not as expected: {len(wrong)}; not measured: {len(unmeasured)}")
    if flags.output:
        text = json.dumps([{**vars(row)} for row in rows], indent=1)
        Path(flags.output).write_text(text + "\n", encoding="utf-8")
    return 1 if wrong else 0


def part(name: str, setting: Setting) -> None:
    """Run one part in this process."""
    module = importlib.import_module(f"tests.benchmarks.on_gpu.{PARTS[name][0]}")
    work: Part = getattr(module, name)
    try:
        work(setting)
    except ImportError as error:
        print(
            MARK + json.dumps({"what": "the rest of the part", "found": f"not measured: {error}"})
        )
    except Exception as error:
        traceback.print_exc()
        sys.exit(f"{type(error).__name__}: {' '.join(str(error).split())[:280]}")


def read_flags() -> argparse.Namespace:
    """The flags, checked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--small", action="store_true", help="sizes only large enough to run")
    parser.add_argument("--parts", default=",".join(PARTS), help="which, in this order")
    parser.add_argument("--minutes", type=float, default=8.0, help="for all of it")
    parser.add_argument("--output", help="a file for the rows as JSON, too")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("--scratch", type=Path, default=Path(), help=argparse.SUPPRESS)
    flags = parser.parse_args()
    flags.parts = flags.parts.split(",")
    unknown = sorted(set(flags.parts) - set(PARTS))
    if unknown:
        parser.error(f"unknown parts: {', '.join(unknown)}; expected some of {', '.join(PARTS)}")
    return flags


def main() -> None:
    """Measure, or run one part."""
    flags = read_flags()
    if flags.part:
        part(flags.part, Setting(flags.device, flags.small, flags.scratch))
        return
    sys.exit(measure(flags))


if __name__ == "__main__":
    main()
