"""How long a step of so many images takes on one device, from a few that were timed."""

from dataclasses import dataclass
from itertools import pairwise

from distvae.errors import DistvaeError


@dataclass(frozen=True)
class Step:
    """Seconds of a step of b images on one device: ``fixed + each * b``."""

    fixed: float
    each: float

    @classmethod
    def through(cls, first: tuple[int, float], second: tuple[int, float]) -> "Step":
        """The line through two measured (images, seconds), of which none is negative."""
        (many, long), (few, short) = first, second
        each = (long - short) / (many - few) if many != few else long / many
        each = min(max(each, 0.0), long / many)
        return cls(long - each * many, each)

    def seconds(self, images: float) -> float:
        """Of so many images."""
        return self.fixed + self.each * images


@dataclass(frozen=True)
class StepTimes:
    """Lines between steps that were timed; the first and the last go on beyond them."""

    timed: tuple[tuple[int, float], ...]
    """(images, seconds), by images; two or more."""

    @classmethod
    def of(cls, timed: dict[int, float]) -> "StepTimes":
        """Those of so many images; of one alone, a step is taken to grow with its images."""
        return cls(tuple(sorted(timed.items())))

    def seconds(self, images: float) -> float:
        """Of so many images."""
        if len(self.timed) == 1:
            return Step.through(self.timed[0], self.timed[0]).seconds(images)
        lines = list(pairwise(self.timed))
        few, many = next((line for line in lines if images <= line[1][0]), lines[-1])
        return Step.through(many, few).seconds(images)


def read_timed(text: str) -> dict[int, float]:
    """Steps that were timed elsewhere: ``128:0.43,4096:5.1``, images and milliseconds.

    Raises:
        DistvaeError: they are not two or more such pairs.
    """
    try:
        pairs = [pair.split(":") for pair in text.split(",")]
        timed = {int(images): float(milliseconds) / 1e3 for images, milliseconds in pairs}
    except ValueError:
        timed = {}
    if len(timed) < 2 or min(timed) < 1 or min(timed.values()) <= 0:
        raise DistvaeError(
            f"--measured is {text}",
            "expected images and milliseconds of two steps or more, as in 128:0.43,4096:5.1",
        )
    return timed
