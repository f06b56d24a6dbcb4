"""Data that is handed over in Python: it goes the way of files, under a name of its content.

The name of a setting, ``arrays:DIGEST``, says what the data holds. As long as somebody keeps what
:func:`hold` gave, the data is found by that name; afterwards its decoded copy still is.
"""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from weakref import WeakValueDictionary

from distvae.config import DataConfig
from distvae.data.cache import cache_folder
from distvae.data.identity import Progress
from distvae.data.sources.raw import RawData, Source
from distvae.errors import DistvaeError

ARRAYS = "arrays"


@dataclass(frozen=True, eq=False)
class InMemory:
    """Data of this process."""

    identity: str
    """16 hexadecimal digits of what it holds."""
    read: Callable[[DataConfig], RawData]

    @property
    def name(self) -> str:
        """By which it is found."""
        return f"{ARRAYS}:{self.identity}"


_HELD: "WeakValueDictionary[str, InMemory]" = WeakValueDictionary()


def is_in_memory(data: Any) -> bool:
    """Whether data is there itself, and not the name of some."""
    return not (data is None or isinstance(data, str | os.PathLike))


def is_name(data: str) -> bool:
    """Whether this is the name of data that was in memory."""
    return re.fullmatch(rf"{ARRAYS}:[0-9a-f]{{16}}", data) is not None


def hold(data: Any, progress: Progress) -> InMemory:
    """Let data be found by its name, for as long as the result is kept.

    Args:
        data: images, alone or with labels: see :func:`distvae.train`.
        progress: is told of the examples of a dataset that are read.

    Raises:
        DistvaeError: it is nothing that can be trained on.
    """
    from distvae.data.sources.handed_over import recognized

    found = recognized(data, progress)
    held = InMemory(found.identity()[:16], found.read)
    _HELD[held.name] = held
    return held


def held_source(config: DataConfig) -> Source:
    """The source of data by its name; its decoded copy in the cache needs no more of it."""
    name = config.data

    def read() -> RawData:
        if (held := _HELD.get(name)) is not None:
            return held.read(config)
        raise DistvaeError(
            f"{name} is not here",
            "it was given to distvae.train in Python, and no decoded copy of it is left in "
            f"{cache_folder(config)}",
            "Give the same data again, in Python: distvae.train(data=..., resume=RUN).",
        )

    return Source(ARRAYS, ARRAYS, name.partition(":")[2], read)
