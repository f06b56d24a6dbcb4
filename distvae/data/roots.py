"""Which files a table of images may name."""

import functools
import os
import re
from pathlib import Path
from typing import NamedTuple

from distvae.errors import DistvaeError

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://|(file|data):|.*::", re.IGNORECASE)


class Root(NamedTuple):
    """Where the files lie that a table names.

    A table from others could name any file that can be read on this machine, and so bring it into a
    model that is then given away; what lies outside is taken only where that is ``allowed``.
    """

    folder: Path
    """The one that paths are relative to."""
    allowed: bool = False
    others: tuple[Path, ...] = ()
    """More folders that files may lie in."""

    def file(self, name: str, where: str) -> Path:
        """The file that a row names, whether there is one or not.

        Args:
            name: as the table has it, relative to the folder or absolute.
            where: how to call the row in a message.

        Raises:
            DistvaeError: it lies outside, also by way of a link, or is an address.
        """
        if "\0" in name:
            raise DistvaeError(f"{where} names {name!r}", "expected the path of an image")
        path = self.folder / name
        if _ADDRESS.match(name) and not os.path.lexists(path):
            raise DistvaeError(
                f"{where} names {name}",
                "expected a file; images are not fetched from addresses",
                "Download them, and name the files.",
            )
        if not self.allowed and not self._inside(path):
            raise DistvaeError(
                f"{where} names {name}, which lies outside {self.folder}",
                "a table may name the images in its own folder",
                "If you trust it, allow others by --allow-outside.",
            )
        return path

    def _inside(self, path: Path) -> bool:
        real = Path(os.path.realpath(path))
        return any(real.is_relative_to(_real(folder)) for folder in (self.folder, *self.others))


def is_file(path: Path | str) -> bool:
    """Whether there is a file; there is none of a name that no system could have."""
    return os.path.isfile(path)  # noqa: PTH113 - pathlib raises where a name is too long


@functools.cache
def _real(folder: Path) -> str:
    return os.path.realpath(folder)
