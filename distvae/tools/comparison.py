"""What a comparison of runs finds, its tests, and how it is told.

Legend: R runs, N test examples.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from distvae.figures import rows_of_runs
from distvae.text import counted
from distvae.told_settings import name_of, told

LEVEL = 0.05
"""Of the tests together."""
SMALLEST = 1e-99
"""Chance that is told as a number."""
HIGHER = ("elbo",)
"""Figures of which more is better, and that are told in words."""


class Difference(NamedTuple):
    """How a run differs from the first one in a figure, over the same examples."""

    figure: str
    run: str
    mean: float
    """The run's figure less that of the first, nats."""
    error: float
    """Its standard error over the examples."""
    p: float
    """Of a paired t-test, two-sided, corrected after Holm for all that were made."""

    @property
    def differs(self) -> bool:
        """Whether chance in the choice of test examples explains it with less than 5 %."""
        return self.p < LEVEL


@dataclass(frozen=True)
class Comparison:
    """Runs side by side."""

    runs: tuple[str, ...]
    settings: dict[str, tuple[Any, ...]]
    """Settings that are not the same in all runs, by name ``[R]``."""
    numbers: dict[str, tuple[float | None, ...]]
    """What is known of each run on its test split, by name ``[R]``; errors end in
    ``_standard_error``."""
    nats: dict[str, NDArray[np.float64]]
    """Of the same examples by figure ``[R, N]``; empty where they cannot be compared."""
    differences: tuple[Difference, ...]
    why_not: str = ""
    """Why nothing was paired."""
    examples: str = "images"
    """What they are called."""


def differences(
    names: Sequence[str], nats: Mapping[str, NDArray[np.float64]]
) -> Iterator[Difference]:
    """What paired t-tests say of figures ``[R, N]``, each run against the first."""
    from scipy import stats

    found = []
    for figure, values in nats.items():
        for name, row in zip(names[1:], values[1:], strict=True):
            paired = row - values[0]
            mean, error = float(paired.mean()), math.nan
            if len(paired) > 1:
                error = float(paired.std(ddof=1) / math.sqrt(len(paired)))
            statistic = math.inf if not error and mean else mean / error if error else 0.0
            p = float(2 * stats.t.sf(abs(statistic), max(1, len(paired) - 1)))
            found.append(Difference(figure, name, mean, error, 1.0 if math.isnan(p) else p))
    corrected = holm([one.p for one in found])
    yield from (one._replace(p=p) for one, p in zip(found, corrected, strict=True))


def holm(values: Sequence[float]) -> list[float]:
    """P-values of several tests, corrected after Holm 1979: none above 1, in their order."""
    order = np.argsort(values, kind="stable")
    result, least = [0.0] * len(values), 0.0
    for rank, place in enumerate(order):
        least = max(least, min(1.0, (len(values) - rank) * values[place]))
        result[place] = least
    return result


def tables(found: Comparison) -> Iterator[tuple[str, list[tuple[str, ...]]]]:
    """Titles and tables for people."""
    header = ("", *found.runs)
    if found.settings:
        rows = [
            (name_of(name), *(told(name, value) for value in values))
            for name, values in found.settings.items()
        ]
        yield "settings that differ", [header, *rows]
    numbers = [
        {name: it for name, values in found.numbers.items() if (it := values[place]) is not None}
        for place in range(len(found.runs))
    ]
    yield "numbers of the test split", [header, *rows_of_runs(numbers, found.examples)]
    if found.differences:
        count = len(next(iter(found.nats.values()))[0])
        rows = [
            (
                one.figure,
                one.run,
                f"{one.mean:+.3f} ± {one.error:.3f}",
                _chance(one.p),
                "differs" if one.differs else "could be chance",
            )
            for one in found.differences
        ]
        names = ("nats", "run", f"less {found.runs[0]}", "p", "")
        yield (
            f"paired differences over the same {counted(count, f'test {found.examples}')}",
            [names, *rows],
        )


def _chance(p: float) -> str:
    return f"= {p:.2g}" if p > SMALLEST else f"< {SMALLEST:g}"


def as_rows(found: Comparison) -> tuple[Sequence[str], list[Sequence[object]]]:
    """All of it as one table for programs: kind, name, a column for each run."""
    rows: list[Sequence[object]] = []
    rows += [("setting", name, *values) for name, values in found.settings.items()]
    rows += [("number", name, *values) for name, values in found.numbers.items()]
    for name in found.nats:
        here = [one for one in found.differences if one.figure == name]
        rows.append(("difference", name, 0.0, *(one.mean for one in here)))
        rows.append(("difference error", name, "", *(one.error for one in here)))
        rows.append(("p", name, "", *(one.p for one in here)))
    return ("kind", "name", *found.runs), rows


def said(found: Comparison) -> Iterator[str]:
    """The lines that end the command."""
    if found.why_not:
        yield f"nothing is paired: {found.why_not}"
    for one in found.differences:
        if one.figure in HIGHER:
            way = "better" if one.mean > 0 else "worse"
            how = f"{one.run} is {abs(one.mean):.3f} ± {one.error:.3f} nats {way}"
            tested = (
                f"paired t-test, p {_chance(one.p)}{'' if one.differs else ', could be chance'}"
            )
            yield f"{one.figure}: {how} than {found.runs[0]} ({tested})"
