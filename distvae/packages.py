"""Packages that a command needs and that are not installed, told in one line."""

import contextlib
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
def reporting_missing_packages(command: str) -> Iterator[None]:
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
        known = _requirements()
        others = [other for other in known if other != name and not _is_there(other)]
        wanted = [known.get(one, one) for one in (name, *others)]
        raise DistvaeError(
            f"distvae {command} needs the package {name}",
            f"it is not installed{', nor are ' if others else ''}{', '.join(others)}",
            f"Install: pip install {' '.join(map(shlex.quote, wanted))}",
        ) from error


def _requirements() -> dict[str, str]:
    """Each package that distvae needs, with the versions it takes, as far as that is known."""
    import importlib.metadata

    try:
        lines = importlib.metadata.requires("distvae") or []
    except importlib.metadata.PackageNotFoundError:
        lines = []
    needed = [line.partition(";")[0].strip() for line in lines if "extra ==" not in line]
    return {re.sub(r"[^\w.-].*", "", line): line for line in needed}


def _is_there(name: str) -> bool:
    """Whether a package is installed, by the name under which it is."""
    import importlib.metadata

    try:
        return bool(importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        return False
