"""Lines, tables and progress bars on a terminal; plain text where there is none. No torch."""

import contextlib
import os
import shutil
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TextIO, cast

from distvae.errors import DistvaeError
from distvae.packages import is_installed
from distvae.text import is_right, printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress
    from rich.table import Table

PATIENCE = 1.0
"""Seconds."""
PROGRESS, QUIET = "DISTVAE_PROGRESS", "DISTVAE_QUIET"
"""What --progress and --quiet set in the environment, for this process and those that it starts."""
AUTO, BARS, PLAIN, OFF = MODES = "auto", "bars", "plain", "off"
"""Bars on a terminal and lines elsewhere, bars, lines, neither."""


def progress_mode() -> str:
    """How progress is shown.

    Raises:
        DistvaeError: the environment asks for what there is not.
    """
    mode = os.environ.get(PROGRESS) or AUTO
    if mode not in MODES:
        raise DistvaeError(f"--progress {mode} is not known", f"expected {', '.join(MODES)}")
    return PLAIN if mode == AUTO and in_notebook() and not shows_widgets() else mode


def in_notebook() -> bool:
    """Whether a cell of a notebook started this process, as ``!distvae train`` does.

    Its output looks like a terminal there and shows no bars that move.
    """
    of_kernel = "JPY_PARENT_PID" in os.environ or "COLAB_RELEASE_TAG" in os.environ
    pagers = os.environ.get("PAGER"), os.environ.get("GIT_PAGER")
    return of_kernel or (os.environ.get("TERM") == "xterm-color" and pagers == ("cat", "cat"))


def in_kernel() -> bool:
    """Whether this process is the kernel of a notebook; one that it forked is none."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    session = getattr(getattr(shell, "kernel", None), "session", None)
    return session is not None and getattr(session, "pid", os.getpid()) == os.getpid()


def shows_widgets() -> bool:
    """Whether bars can move in the cell of a notebook: rich does that by ipywidgets."""
    return in_kernel() and is_installed("ipywidgets")


def shows_bars_in_cells() -> bool:
    """Whether progress moves in the cell of a notebook."""
    return shows_widgets() and progress_mode() in (AUTO, BARS)


def speaks() -> bool:
    """Whether this is the process that talks, among those a launcher started."""
    return os.environ.get("RANK", "0") == "0"


def is_terminal(stream: TextIO) -> bool:
    """Whether what is written there is read on a terminal, or shall be as if it were."""
    return {AUTO: stream.isatty(), BARS: True}.get(progress_mode(), False)


def is_silent(stderr: bool) -> bool:
    """Whether --quiet asked for nothing there."""
    return not stderr and os.environ.get(QUIET) == "1"


def say(text: str, stderr: bool = False) -> None:
    """A line as it is, wrapped between words on a terminal; without rich, whose import takes long.

    Args:
        text: of one line.
        stderr: whether it belongs on standard error; with --quiet the other one shows nothing.
    """
    if is_silent(stderr):
        return
    stream, line = sys.stderr if stderr else sys.stdout, printable(text)
    if is_terminal(stream):
        width = shutil.get_terminal_size().columns
        line = textwrap.fill(line, width, break_long_words=False, break_on_hyphens=False) or line
    print(line, file=stream)


class Lines:
    """Lines of text where rich is not installed."""

    is_terminal = False

    def __init__(self, quiet: bool, stderr: bool) -> None:
        self.quiet, self.stderr = quiet, stderr

    def print(self, text: str, **style: Any) -> None:
        """Print one line, without its style."""
        if not self.quiet:
            say(text, self.stderr)


def make_console(quiet: bool = False, stderr: bool = False) -> "Console":
    """A console that keeps paths whole, numbers uncoloured, and ``[`` and ``:`` as they are.

    Lines are wrapped between words on a terminal, elsewhere not at all. With --quiet standard
    output shows nothing.
    """
    quiet = quiet or is_silent(stderr)
    if not is_installed("rich"):
        return cast("Console", Lines(quiet, stderr))
    from distvae.consoles import PlainConsole

    return PlainConsole(
        quiet=quiet,
        stderr=stderr,
        highlight=False,
        markup=False,
        emoji=False,
        force_terminal={AUTO: None, BARS: True}.get(progress_mode(), False),
        force_jupyter=shows_bars_in_cells(),
    )


def warn(text: str) -> None:
    """Say on standard error what went another way than was asked."""
    say(f"warning: {text}", stderr=True)


def table(title: str, rows: Sequence[Sequence[str]], header: bool = False) -> "Table":
    """A name and what is known of it in each row, of which the first may be the header.

    Columns of numbers stand at the right, and all others at the left.
    """
    from rich.table import Table

    sheet = Table(title=title, show_header=header, title_justify="left")
    for number, name in enumerate(rows[0] if rows else ()):
        right = number > 0 and is_right(row[number] for row in rows[header:])
        sheet.add_column(name if header else "", justify="right" if right else "left")
    for row in rows[header:]:
        sheet.add_row(*row)
    return sheet


@contextlib.contextmanager
def progress_bar(description: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar on standard error for what takes more than a second; nothing without a terminal."""
    if not (is_terminal(sys.stderr) or shows_bars_in_cells()) or not is_installed("rich"):
        yield lambda count: None
        return
    patient, done = time.monotonic() + PATIENCE, 0
    bar: Progress | None = None
    with contextlib.ExitStack() as stack:

        def advance(count: int) -> None:
            nonlocal bar, done
            done += count
            if bar is None and time.monotonic() > patient:
                bar = stack.enter_context(_bar(description, total))
            if bar is not None:
                bar.update(bar.task_ids[0], completed=done)

        yield advance


def _bar(description: str, total: int) -> "Progress":
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )

    bar = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        console=make_console(stderr=True),
        transient=True,
    )
    bar.add_task(printable(description), total=total)
    return bar
