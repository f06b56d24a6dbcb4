"""What a part is told, and how it tells what it found: a line of JSON for each row."""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

MARK = "ROW "
"""What a line begins with that is a row; others are the part's own talk."""
END = "END "
"""What the line begins with after a part, with why it failed or nothing."""
NO_GPU = "not measured: no GPU"


@dataclass(frozen=True)
class Setting:
    """What a part is told."""

    device: str
    """``cuda`` or ``cpu``."""
    small: bool
    """Whether sizes are only large enough to run everything once."""
    scratch: Path
    """A folder for runs."""

    @property
    def cuda(self) -> bool:
        """Whether there is a GPU to measure."""
        return self.device == "cuda"

    def of(self, count: int, few: int) -> int:
        """A number of steps, images or draws: few where sizes are small."""
        return few if self.small else count


def folder_of_images(setting: Setting, count: int) -> Path:
    """A folder of digits as PNG files by split and label; a tenth of them are for the test."""
    from PIL import Image

    from distvae.config import DataConfig
    from distvae.data.store import open_data

    folder, split = setting.scratch / "digits", open_data(DataConfig()).train
    assert split.labels is not None
    for number in range(count):
        part = "train" if number % 10 else "test"
        place = folder / part / str(split.labels[number])
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(split.images[number, 0]).save(place / f"{number}.png")
    return folder


Part = Callable[[Setting], None]


def row(what: str, found: object, expected: str = "", good: bool | None = None) -> None:
    """Tell one row.

    Args:
        what: was measured, with its unit.
        found: the figure, or why there is none.
        expected: what it is held to.
        good: whether it holds; None where nothing is expected or nothing was measured.
    """
    shown = f"{found:,.4g}" if isinstance(found, float) else str(found)
    line = {"what": what, "found": shown, "expected": expected, "good": good}
    sys.stdout.write(MARK + json.dumps(line) + "\n")
    sys.stdout.flush()


def held(what: str, found: float, least: float, aim: float | None = None, unit: str = "") -> None:
    """A figure that must be at least so large."""
    aimed = "" if aim is None else f", aim {aim:g}"
    row(what, found, f"at least {least:g}{aimed}{unit}", found >= least)


def within(what: str, found: float, most: float, aim: float | None = None, unit: str = "") -> None:
    """A figure that must be at most so large."""
    aimed = "" if aim is None else f", aim {aim:g}"
    row(what, found, f"at most {most:g}{aimed}{unit}", found <= most)


def missing(*what: str, why: str = NO_GPU) -> None:
    """Rows that could not be measured."""
    for each in what:
        row(each, why)
