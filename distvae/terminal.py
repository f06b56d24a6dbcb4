"""Lines, tables and progress bars on a terminal; plain text where there is none. No torch."""

import contextlib
from collections.abc import Callable, Iterator, Sequence

from rich.console import Console
from rich.progress import Progress
from rich.table import Table


def make_console(quiet: bool = False, stderr: bool = False) -> Console:
    """A console that keeps paths whole, numbers uncoloured, and ``[`` and ``:`` as they are."""
    return Console(
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
    """A bar on standard error for anything that takes seconds; nothing without a terminal."""
    console = make_console(stderr=True)
    bar = Progress(console=console, transient=True, disable=not console.is_terminal)
    with bar:
        task = bar.add_task(description, total=total)

        def advance(count: int) -> None:
            bar.advance(task, count)

        yield advance
