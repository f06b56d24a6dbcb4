"""How far a sweep is: one line for all runs on a terminal, a line for each that ended elsewhere."""

import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from distvae.card import last_metrics
from distvae.figures import figure_of, heading
from distvae.packages import is_installed
from distvae.sweeps.jobs import Job
from distvae.sweeps.results import Result, numbers_in
from distvae.terminal import is_terminal, make_console, say
from distvae.text import printable, rounded

if TYPE_CHECKING:
    from rich.live import Live

LOOK_AT = 65_536
"""Bytes at the end of a log."""
SELDOM = 10
"""One look of so many reads how far the runs are."""


class LiveLine:
    """Tells of runs as they end, and on a terminal of those that are under way.

    Args:
        results: of the sweep.
        passed: how many of them were done before.
    """

    def __init__(self, results: Sequence[Result], passed: int) -> None:
        self._folders = {each.point.name: each.folder for each in results}
        self._total, self._ended, self._failed, self._looks = len(results), passed, 0, 0
        self._live: Live | None = None

    def __enter__(self) -> "LiveLine":
        if is_terminal(sys.stderr) and is_installed("rich"):
            from rich.live import Live

            self._live = Live(
                console=make_console(stderr=True),
                transient=True,
                auto_refresh=False,
                redirect_stdout=sys.stdout.isatty(),
                redirect_stderr=False,
            )
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def ended(self, result: Result, by: str) -> None:
        """Tell that a run has ended, and with what."""
        self._ended += 1
        self._failed += not result.done
        told = result.state
        if result.done:
            numbers = numbers_in(result.folder, by)[0]
            told = f"{heading(by)} {figure_of(by, numbers)}" if by in numbers else "done"
        say(f"{self._ended} of {self._total}  {result.point.name}  {told}")

    def look(self, running: Sequence[Job]) -> None:
        """Show how far the runs are that are under way."""
        self._looks += 1
        if self._live is None or self._looks % SELDOM != 1:
            return
        from rich.text import Text

        failed = f", {self._failed} failed" if self._failed else ""
        parts = [f"{self._ended} of {self._total} ended{failed}"]
        parts += [f"{job.name} {_how_far(self._folders[job.name])}" for job in running]
        line = Text(printable("  |  ".join(parts)), no_wrap=True, overflow="ellipsis")
        self._live.update(line, refresh=True)


def _how_far(folder: Path) -> str:
    """The epoch that a run has come to."""
    with contextlib.suppress(OSError, ValueError):
        if line := last_metrics(folder, "train"):
            return f"epoch {rounded(line.epoch)}"
    return "starts"


def reason(log: Path) -> str:
    """Why a command failed, by the end of what it printed."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - LOOK_AT))
        lines = file.read().decode("utf-8", "replace").split("\n")
    told = [line.strip() for line in lines if line.strip()]
    errors = [line for line in told if line.startswith("error: ")]
    return printable((errors or told or ["it was killed"])[-1].removeprefix("error: "))
