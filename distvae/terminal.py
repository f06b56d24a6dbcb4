"""Lines, tables and progress bars on a terminal; plain text where there is none. No torch."""

import contextlib
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import Progress
from rich.table import Table


def make_console(quiet: bool = False, stderr: bool = False) -> Console:
    """A console that keeps paths whole, numbers uncoloured, and ``[`` and ``:`` as they are."""
    return Console(
        quiet=quiet, stderr=stderr, highlight=False, soft_wrap=True, markup=False, emoji=False
    )


def table(title: str, rows: list[tuple[str, str]]) -> Table:
    """Two columns: a name and a number."""
    sheet = Table(title=title, show_header=False, title_justify="left")
    sheet.add_column()
    sheet.add_column(justify="right")
    for name, value in rows:
        sheet.add_row(name, value)
    return sheet


@contextlib.contextmanager
def progress_bar(description: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar on standard error for anything that takes seconds; nothing without a terminal."""
    console = make_console(stderr=True)
    bar = Progress(console=console, transient=True, disable=not console.is_terminal)
    with bar:
        task = bar.add_task(description, total=total)

        def advance(count: int) -> None:
            bar.advance(task, count)

        yield advance
