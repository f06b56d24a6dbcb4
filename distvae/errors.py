"""The exceptions meant for users, and the exit codes of the command line."""

import difflib
from collections.abc import Iterable

DONE = 0
INTERNAL_FAILURE = 1
WRONG_INPUT = 2
LOST = 3
INTERRUPTED = 130


class DistvaeError(ValueError):
    """Wrong usage or input, told in one message.

    The message is put together from four parts so that every error names the same things:
    what the trouble is with, what was found, what was expected, and what to do next.

    Args:
        thing: what the trouble is with and what was found (``"label 12 is not in this model"``).
        expected: what would have been right (``"it knows 0..9"``).
        next_step: what the reader can do now.
    """

    exit_code = WRONG_INPUT

    def __init__(self, thing: str, expected: str = "", next_step: str = "") -> None:
        self.thing = thing
        self.expected = expected
        self.next_step = next_step
        message = thing if not expected else f"{thing}: {expected}"
        super().__init__(message if not next_step else f"{message}. {next_step}")


class MismatchError(DistvaeError):
    """What was read is whole, but of another architecture or other settings."""


class NoSplitError(DistvaeError):
    """The data has no split of the name that was asked for."""


class LostError(DistvaeError):
    """Another process of the run was lost; nothing is wrong with the input.

    Args:
        thing: as above.
        expected: as above.
        next_step: as above.
        tells: whether this process is the one to say so.
    """

    exit_code = LOST

    def __init__(self, thing: str, expected: str, next_step: str, tells: bool) -> None:
        super().__init__(thing, expected, next_step)
        self.tells = tells


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint naming the known word closest to ``name``, or the empty string.

    >>> nearest("latnet_dim", ["latent_dim", "beta"])
    'Did you mean latent_dim?'
    """
    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"Did you mean {matches[0]}?" if matches else ""
