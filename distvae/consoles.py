"""The console on a terminal, by rich."""

from typing import Any

from rich.console import Console
from rich.text import Text

from distvae.text import printable


class PlainConsole(Console):
    """A console to which every string is text: what would drive a terminal is shown instead.

    That holds for lines, titles and the cells of tables alike.
    """

    def render_str(self, text: str, **options: Any) -> Text:
        """The text as it will stand there, see :func:`distvae.text.printable`."""
        return super().render_str(printable(text), **options)
