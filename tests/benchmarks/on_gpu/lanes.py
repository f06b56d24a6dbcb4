"""Processes that run parts one after the other, each part within its time.

A process goes on to the next part while all goes well, as it takes seconds to start one. After a
part that failed or took too long another process is started: a GPU may refuse all further work of
one that went wrong.
"""

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tests.benchmarks.on_gpu.row import END, MARK


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


class Worker:
    """A process that takes names of parts and tells rows.

    Args:
        words: of its command.
        environment: of it.
        folder: in which it runs.
    """

    def __init__(self, words: Sequence[str], environment: dict[str, str], folder: str) -> None:
        # it is read after the process has ended
        self._log = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115
        self._process = subprocess.Popen(
            words,
            env=environment,
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            start_new_session=True,
        )
        self._lines: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def run(self, name: str, seconds: float) -> Iterator[Row]:
        """What a part finds, as it finds it."""
        until, found = time.monotonic() + seconds, 0
        try:
            assert self._process.stdin is not None
            self._process.stdin.write(name + "\n")
            self._process.stdin.flush()
            while True:
                line = self._lines.get(timeout=max(0.01, until - time.monotonic()))
                if line is None:
                    yield self._failed(name)
                    return
                if line.startswith(MARK):
                    found += 1
                    yield Row(name, **json.loads(line.removeprefix(MARK)))
                elif line.startswith(END):
                    why = json.loads(line.removeprefix(END))
                    if why:
                        yield Row(name, "the whole part", f"failed: {why}", "", False)
                        self._tell()
                        self.end()
                    elif not found:
                        yield Row(name, "the whole part", "told nothing", "", False)
                    return
        except queue.Empty:
            self.end()
            yield Row(name, "the whole part", f"stopped after {seconds:.0f} s", "", False)
        except OSError:
            yield self._failed(name)

    def _failed(self, name: str) -> Row:
        code = self._process.wait()
        last = [str(code), *self._tell()][-1]
        return Row(name, "the whole part", f"failed with code {code}: {last[:280]}", "", False)

    def _tell(self) -> list[str]:
        """The last lines of what it said, which are told here, too."""
        self._log.seek(0)
        told = [line for line in self._log.read().splitlines() if line.strip()]
        sys.stderr.write("\n".join(told[-25:]) + "\n")
        return told

    @property
    def there(self) -> bool:
        """Whether it takes further parts."""
        return self._process.poll() is None

    def end(self) -> None:
        """End the process and those that it started."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


def run_lane(
    parts: Sequence[tuple[str, float]],
    start: Callable[[], Worker],
    left: Callable[[], float],
    tell: Callable[[Row], Any],
) -> None:
    """Run parts one after the other.

    Args:
        parts: names, and the most seconds that each may take.
        start: a process.
        left: the seconds that there are for all of them.
        tell: is told each row.
    """
    worker = start()
    for name, seconds in parts:
        limit = min(seconds, left())
        if limit < 3.0:
            tell(Row(name, "the whole part", "not measured: no time was left"))
            continue
        if not worker.there:
            worker = start()
        for row in worker.run(name, limit):
            tell(row)
    worker.end()
