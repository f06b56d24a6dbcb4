"""The exceptions meant for users, and the exit codes of the command line."""

import itertools
import reprlib
from collections.abc import Iterable
from typing import Any

DONE = 0
INTERNAL_FAILURE = 1
WRONG_INPUT = 2
LOST = 3
INTERRUPTED = 130
LONGEST = 400
"""Characters of each part of a message; what is longer loses its middle."""


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
        self.thing, self.expected, self.next_step = map(shortened, (thing, expected, next_step))
        message = f"{self.thing}: {self.expected}" if expected else self.thing
        super().__init__(f"{message}. {self.next_step}" if next_step else message)


class MismatchError(DistvaeError):
    """What was read is whole, but of another architecture or other settings."""


class NotImagesError(DistvaeError):
    """The data holds no images, and perhaps something else."""


class NoSplitError(DistvaeError):
    """The data has no split of the name that was asked for."""


class UndividedError(DistvaeError):
    """There are too few examples to hold out some of them.

    Args:
        thing: as above.
        expected: as above.
        next_step: as above.
        whole: all of them, for whoever needs no other split.
    """

    def __init__(self, thing: str, expected: str, next_step: str, whole: Any) -> None:
        super().__init__(thing, expected, next_step)
        self.whole = whole


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


def shortened(text: str, longest: int = LONGEST) -> str:
    """The text, without its middle where it is too long.

    >>> shortened("abcdefghijklmnop", 11)
    'abc ... nop'
    """
    if len(text) <= longest:
        return text
    kept = longest - 5
    return f"{text[: kept - kept // 2]} ... {text[len(text) - kept // 2 :]}"


def shown(value: Any) -> str:
    """A value as Python writes it, in a line at most, however much it holds.

    >>> shown([list(range(1000))] * 1000)
    '[[0, 1, 2, 3, ...], [0, 1, 2, 3, ...], [0, 1, 2, 3, ...], [0, 1, 2, 3, ...], ...]'
    """
    return shortened(_SHORT.repr(value), 100)


_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxlist, _SHORT.maxtuple, _SHORT.maxdict = 3, 4, 4, 4
_SHORT.maxstring = _SHORT.maxother = 80


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint naming the known word closest to ``name``, or the empty string.

    >>> nearest("latnet_dim", ["latent_dim", "beta"])
    'Did you mean latent_dim?'
    """
    import difflib

    among = [word for word in itertools.islice(known, 1000) if len(word) <= 100]
    matches = difflib.get_close_matches(name[:100], among, n=1, cutoff=0.5)
    return f"Did you mean {matches[0]}?" if matches else ""
