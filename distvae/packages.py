"""Packages that a command needs and that are not installed, told in one line."""

import contextlib
import importlib.metadata
import importlib.util
import re
import shlex
from collections.abc import Iterator

from distvae.errors import DistvaeError

_DISTRIBUTIONS = {"PIL": "pillow", "sklearn": "scikit-learn", "yaml": "pyyaml"}
"""Names under which packages are installed, where they are imported by another."""


def is_installed(module: str) -> bool:
    """Whether a module can be found; it is not imported."""
    try:
        return importlib.util.find_spec(module) is not None
    except ValueError:  # imported already, in some way of its own
        return True


@contextlib.contextmanager
def missing_told(command: str) -> Iterator[None]:
    """Tell in one message that a command imports a package which is not installed.

    Args:
        command: the command, such as ``train``.

    Raises:
        DistvaeError: a whole package is missing. Any other failed import is raised as it is.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        module = (error.name or "").partition(".")[0]
        if module in ("", "distvae") or is_installed(module):
            raise
        name = _DISTRIBUTIONS.get(module, module)
        raise DistvaeError(
            f"distvae {command} needs the package {name}",
            "it is not installed",
            f"Install it: pip install {shlex.quote(_requirement(name))}",
        ) from error


def _requirement(name: str) -> str:
    """A package with the versions of it that distvae takes, as far as that is known."""
    try:
        wanted = importlib.metadata.requires("distvae") or []
    except importlib.metadata.PackageNotFoundError:
        wanted = []
    for line in wanted:
        found = re.match(r"[\w.-]+", line)
        if found and re.sub(r"[._-]+", "-", found[0]).lower() == name:
            return line.partition(";")[0].strip()
    return name
