"""Lines, tables and progress bars on a terminal; plain text where there is none. No torch."""

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from distvae.text import printable

PATIENCE = 1.0
"""Seconds."""


class PlainConsole(Console):
    """A console to which every string is text: what would drive a terminal is shown instead.

    That holds for lines, titles and the cells of tables alike.
    """

    def render_str(self, text: str, **options: Any) -> Text:
        """The text as it will stand there, see :func:`distvae.text.printable`."""
        return super().render_str(printable(text), **options)


def make_console(quiet: bool = False, stderr: bool = False) -> Console:
    """A console that keeps paths whole, numbers uncoloured, and ``[`` and ``:`` as they are."""
    return PlainConsole(
        quiet=quiet, stderr=stderr, highlight=False, soft_wrap=True, markup=False, emoji=False
    )


def table(title: str, rows: Sequence[Sequence[str]], header: bool = False) -> Table:
    """A name and numbers in each row, of which the first may be the header."""
    sheet = Table(title=title, show_header=header, title_justify="left")
    for number, name in enumerate(rows[0] if rows else ()):
        sheet.add_column(name if header else "", justify="right" if number else "left")
    for row in rows[header:]:
        sheet.add_row(*row)
    return sheet


@contextlib.contextmanager
def progress_bar(description: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar on standard error for what takes more than a second; nothing without a terminal."""
    console = make_console(stderr=True)
    bar = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    task = bar.add_task(printable(description), total=total)
    patient = time.monotonic() + PATIENCE
    with contextlib.ExitStack() as stack:

        def advance(count: int) -> None:
            if console.is_terminal and not bar.live.is_started and time.monotonic() > patient:
                stack.enter_context(bar)
            bar.advance(task, count)

        yield advance
