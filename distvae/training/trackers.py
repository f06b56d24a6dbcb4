"""Where measured numbers go: metrics.jsonl, and the trackers Accelerate knows."""

import importlib.util
import json
import math
from pathlib import Path
from types import TracebackType

from accelerate import Accelerator
from accelerate.utils import LoggerType

from distvae.errors import DistvaeError, nearest
from distvae.files import replacing_file, reporting_disk_errors
from distvae.reading import read_lines
from distvae.records import MetricsLine
from distvae.runs import METRICS, go_on
from distvae.terminal import warn


def check_trackers(names: tuple[str, ...]) -> None:
    """Refuse unknown and missing trackers before any work starts.

    Raises:
        DistvaeError: a name Accelerate does not know, or one whose package is not installed.
    """
    known = [kind.value for kind in LoggerType if kind.value != "all"]
    for name in names:
        if name not in known:
            raise DistvaeError(
                f"unknown tracker {name!r}",
                f"Accelerate knows {', '.join(known)}",
                nearest(name, known),
            )
        if importlib.util.find_spec(name) is None and name != "aim":
            raise DistvaeError(
                f"tracker {name} is not installed",
                next_step=f"pip install {name.replace('_', '-')}",
            )


class MetricsLog:
    """Appends one JSON object a line to metrics.jsonl and passes the numbers on to the trackers.

    Only the main process writes. Lines of steps after ``step`` are dropped on opening: a resumed
    run takes those steps again. A disk that is full is told by ``check``, which all processes call
    at the same step.
    """

    def __init__(self, folder: Path, step: int, accelerator: Accelerator) -> None:
        self._accelerator = accelerator
        self._file = None
        self._folder = folder
        self.failure: DistvaeError | None = None
        if not accelerator.is_main_process:
            return
        path = folder / METRICS
        with reporting_disk_errors(f"{path} cannot be written", folder):
            if path.exists():
                with replacing_file(path) as temporary:
                    temporary.write_bytes(b"".join(_lines_until(path, step)))
            self._file = path.open("ab", buffering=0)  # a failed write leaves nothing for later

    def __enter__(self) -> "MetricsLog":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._file is not None:
            self._file.close()
        # Accelerate would end the process group as well: other processes may be gone, and NCCL
        # waits for graphs that hold an exchange
        for tracker in self._accelerator.trackers:
            tracker.finish()

    def write(self, step: int, epoch: float, split: str, values: dict[str, float]) -> None:
        """One line: step, epoch, split and the named values (nats per image, images/s).

        JSON has no infinity: what is not finite, as a gradient of fp16 may be, is left out.
        """
        if self._file is not None:
            finite = {key: value for key, value in values.items() if math.isfinite(value)}
            line = {"step": step, "epoch": round(epoch, 4), "split": split, **finite}
            self._append((json.dumps(line) + "\n").encode())
        if self._accelerator.trackers:
            self._accelerator.log({f"{split}/{key}": value for key, value in values.items()}, step)

    def check(self) -> None:
        """Tell that a line could not be written.

        Raises:
            DistvaeError: on the main process.
        """
        if self.failure is not None:
            raise self.failure

    def _append(self, line: bytes) -> None:
        assert self._file is not None
        try:
            message = f"{self._folder / METRICS} cannot be written"
            with reporting_disk_errors(message, self._folder, next_step=go_on(self._folder)):
                while line:
                    line = line[self._file.write(line) :]
        except DistvaeError as error:
            self.failure = error


def _lines_until(path: Path, step: int) -> list[bytes]:
    """Whole lines of steps up to ``step``; a line cut short by a crash is dropped."""
    damaged: list[str] = []
    lines = read_lines(path, MetricsLine, damaged)
    kept = [line for line, found in lines if found.step <= step]
    if damaged:
        warn(f"{path} had {len(damaged)} damaged lines, which are left out: {damaged[0]}")
    return kept
