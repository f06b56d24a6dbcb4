"""Whether something fits into this machine's memory, asked before it is made."""

import os

from distvae.errors import DistvaeError


def memory() -> int | None:
    """Bytes of memory of this machine; None where it does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def check_memory(needed: int, thing: str, next_step: str = "") -> None:
    """Refuse what cannot fit.

    Args:
        needed: bytes.
        thing: what takes them, such as "5 images".
        next_step: what the reader can do now.

    Raises:
        DistvaeError: the machine has less, or no machine could have as much.
    """
    there = memory()
    if needed > (2**48 if there is None else there):
        found = "" if there is None else f"this machine has {there / 1e9:,.1f} GB"
        raise DistvaeError(f"{thing} take {needed / 1e9:,.1f} GB of memory", found, next_step)
