"""What the runs of a sweep came to: their numbers, the best, and the tables of them. No torch."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from distvae.card import last_metrics, measured, numbers_of
from distvae.declarations import declared
from distvae.errors import DistvaeError, nearest
from distvae.figures import column_of_runs, heading, known
from distvae.parts import MetricPart
from distvae.sweeps.grid import Point

LOWER = ("loss", "distortion", "rate", "bits_per_dim")
"""Numbers of which less is better, beside those that metrics say."""
SHOWN = ("elbo", "distortion", "rate", "active_units", "label_error")
UDR = "udr"


@dataclass
class Result:
    """One run."""

    point: Point
    folder: Path
    state: str = "waiting"
    """`done`, or why it is not."""
    numbers: dict[str, float] = field(default_factory=dict)
    """By name."""

    @property
    def done(self) -> bool:
        """Whether it was trained to its end."""
        return self.state == "done"


def metric_of(number: str) -> str:
    """The metric of `distvae evaluate` that measures a number; empty where it is the training.

    Raises:
        DistvaeError: none does.
    """
    if number in ("loss", UDR):
        return ""
    metrics = [(n, one.part) for n, one in declared("metric").items()]
    meanings = {
        meaning: name
        for name, part in metrics
        if issubclass(part, MetricPart)
        for meaning in part.meanings
    }
    for figure in sorted(meanings, key=len, reverse=True):
        if number == figure or number.startswith(f"{figure}_"):
            return meanings[figure]
    raise DistvaeError(
        f"--by {number} is no number of a run",
        "expected loss, elbo or another figure of distvae evaluate",
        nearest(number, meanings),
    )


def lower_is_better(number: str) -> bool:
    """Whether less of a number is better."""
    return number in LOWER or number.startswith(known().lower_is_better)


def numbers_in(folder: Path, by: str) -> tuple[dict[str, float], str]:
    """What is known of a run, and the split that ``by`` is of.

    What a run chooses by is that of its validation images, where it has some.
    """
    numbers = measured(folder)
    line = last_metrics(folder, "test")
    numbers |= {k: v for k, v in numbers_of(line.values if line else {}).items() if k == "loss"}
    held_out = last_metrics(folder, "validation")
    found = numbers_of(held_out.values) if held_out else {}
    if by in found:
        return {**numbers, by: found[by]}, "validation"
    return numbers, "test"


def best_of(results: Sequence[Result], by: str) -> Result | None:
    """The run with the best number, of equal ones the first; None where no run has it."""
    found = [each for each in results if each.done and by in each.numbers]
    sign = -1.0 if lower_is_better(by) else 1.0
    return max(found, key=lambda each: sign * each.numbers[by], default=None)


def ordered(results: Sequence[Result], by: str) -> list[Result]:
    """The best first, those without the number last."""
    sign = 1.0 if lower_is_better(by) else -1.0
    return sorted(results, key=lambda each: sign * each.numbers.get(by, sign * float("inf")))


def columns(results: Sequence[Result], by: str) -> tuple[list[str], list[str]]:
    """Names of the settings that differ, and of the numbers that tables and pictures show."""
    there = {name for each in results for name in each.numbers}
    wanted = dict.fromkeys((by, *SHOWN))
    settings = list(results[0].point.values)
    differ = [name for name in settings if len({each.point.values[name] for each in results}) > 1]
    return differ or settings, [name for name in wanted if name in there]


def rows_for_people(results: Sequence[Result], by: str) -> list[tuple[str, ...]]:
    """A header, and a row for each run, the best first; why one failed is told elsewhere."""
    settings, numbers = columns(results, by)
    those = ordered(results, by)
    figures = [column_of_runs(name, [each.numbers for each in those]) for name in numbers]
    rows = [
        (
            *(each.point.values[name] for name in settings),
            *(column[place] for column in figures),
            each.state.partition(":")[0],
        )
        for place, each in enumerate(those)
    ]
    return [(*settings, *map(heading, numbers), "run"), *rows]


def names_of_numbers(results: Sequence[Result]) -> list[str]:
    """Of all numbers that any run has, but for what has the name of a setting."""
    taken = {name.replace("-", "_") for name in results[0].point.values}
    known = dict.fromkeys(name for each in results for name in each.numbers)
    return [name for name in known if "/" not in name and name not in taken]


def rows_for_programs(results: Sequence[Result]) -> tuple[list[str], list[list[object]]]:
    """A header and rows of all settings and numbers, in the order of the sweep."""
    settings, names = list(results[0].point.values), names_of_numbers(results)
    rows: list[list[object]] = [
        [
            str(each.folder),
            each.state,
            *(each.point.values[name] for name in settings),
            *(each.numbers.get(name, "") for name in names),
        ]
        for each in results
    ]
    return ["run", "state", *settings, *names], rows
