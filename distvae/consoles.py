"""The console on a terminal, by rich."""

from typing import Any

from rich.console import Console
from rich.text import Text

from distvae.text import printable


class PlainConsole(Console):
    """A console to which every string is text: what would drive a terminal is shown instead.

    That holds for lines, titles and the cells of tables alike. Only a terminal wraps its lines.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.soft_wrap = not self.is_terminal

    def render_str(self, text: str, **options: Any) -> Text:
        """The text as it will stand there, see :func:`distvae.text.printable`."""
        return super().render_str(printable(text), **options)
