"""Files that are written one after another: a command that was killed goes on after the last."""

import contextlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from distvae.files import TEMPORARY, replacing_file, write_json
from distvae.reading import read_json
from distvae.terminal import say
from distvae.text import counted
from distvae.tools.reading import Examples

UNFINISHED = ".unfinished.json"
"""Lies beside them until all are there."""


class Parts:
    """The parts in a folder, of which each is whole or not there.

    Args:
        folder: of the parts alone; made where there is none.
        ending: of each, such as ``.npz``.
        key: of what is written; parts of another are removed.
    """

    def __init__(self, folder: Path, ending: str, key: str) -> None:
        self.folder, self._ending, self._key = folder, ending, key
        self.next = 0
        """Number of the example after the last part."""
        self.lost: list[str] = []
        """What could not be read so far."""
        self._count = 0
        folder.mkdir(parents=True, exist_ok=True)
        for leftover in folder.glob(f"{TEMPORARY}*"):  # of a process that was killed
            leftover.unlink()
        state: Any = read_json(self._state) if self._state.is_file() else {}
        if state.get("key") == key and state["parts"]:
            self.next, self._count = int(state["next"]), int(state["parts"])
            self.lost = list(state["lost"])
            return
        for old in folder.glob(f"part-*{ending}"):
            old.unlink()
        self._state.unlink(missing_ok=True)

    @property
    def _state(self) -> Path:
        return self.folder / UNFINISHED

    @property
    def paths(self) -> list[Path]:
        """All that are there, in order."""
        return [self._path(number) for number in range(self._count)]

    @property
    def shown(self) -> Path:
        """What a person is told: the one part, or all at once."""
        return self._path(0) if self._count == 1 else self.folder / f"*{self._ending}"

    def _path(self, number: int) -> Path:
        return self.folder / f"part-{number:05d}{self._ending}"

    def write(self, fill: Callable[[Path], object], stop: int, lost: Sequence[str]) -> None:
        """Add a part.

        Args:
            fill: writes it to a path.
            stop: number of the example after it.
            lost: what could not be read so far.
        """
        with replacing_file(self._path(self._count)) as temporary:
            fill(temporary)
        self._count += 1
        self.next = stop
        state = {"key": self._key, "next": stop, "parts": self._count, "lost": [*lost]}
        write_json(self._state, state)

    @contextlib.contextmanager
    def telling_how_to_go_on(self) -> Iterator[None]:
        """Say on Ctrl-C what is written."""
        try:
            yield
        except KeyboardInterrupt:
            done = counted(self._count, "parts")
            say(f"interrupted: {done} written; the same command goes on after them")
            raise

    def take_up(self, examples: Examples, count: int) -> None:
        """Say where a command goes on among so many, and note what could not be read before."""
        examples.pieces[0].lost.extend(self.lost)
        if self.next:
            say(f"going on after {self.next:,} of {count:,} {examples.domain.examples}")

    def finish(self) -> None:
        """All parts are there."""
        self._state.unlink(missing_ok=True)

    def remove(self) -> None:
        """The parts were needed on the way alone."""
        shutil.rmtree(self.folder)
