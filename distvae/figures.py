"""Measured figures as tables: those of all images, and those of each label. No torch."""

import functools
import math
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from distvae.declarations import declared
from distvae.parts import MetricPart
from distvae.text import one_of

ERROR, OF_LATENT, REAL, SPREAD = "_standard_error", "rate_latent_", "_real", "_spread"
OF_LEVEL = "_level_"
"""Between the name of a figure and that of the level of latents it is of."""
BETWEEN, CERTAINTY = "_between_judges", "_certainty"
LATENTS, LABELS, MOST_DECIMALS = 10, 20, 6
"""Shown at most."""
HEADING = 28
"""Characters above a column at most; what is longer is told by the words of its name."""
TRAINED = {"loss": "loss, nats per image", "udr": "UDR, of latents found by other seeds"}
"""Figures that no metric measures: of a training, and of a sweep."""
BESIDE = {
    REAL: "of real images",
    SPREAD: "best label less worst (bias taken off)",
    BETWEEN: "deviation of one judge",
}
"""What figures are whose names end so, beside the one that is named before."""
UNSHOWN = "judge_confusion"
"""By label: that is a picture."""


class Known(NamedTuple):
    """What the metrics say of their figures."""

    meanings: dict[str, str]
    shares: tuple[str, ...]
    """What the names of figures that are shares of one begin with."""
    lower_is_better: tuple[str, ...]
    """The same of those that are better the lower they are."""
    headlines: tuple[str, ...]
    """Names of the few that somebody looks for who only uses the model."""


@functools.cache
def known() -> Known:
    """Of all metrics together."""
    parts = [one.part for one in declared("metric").values() if issubclass(one.part, MetricPart)]
    return Known(
        TRAINED | {name: meaning for part in parts for name, meaning in part.meanings.items()},
        tuple(name for part in parts for name in part.shares),
        tuple(name for part in parts for name in part.lower_is_better),
        tuple(name for part in parts for name in part.headlines),
    )


def rows_of(values: Mapping[str, float], examples: str = "images") -> list[tuple[str, str]]:
    """The figures of all examples, each with its error beside it.

    Args:
        values: by name.
        examples: what they are called.
    """
    return [(name, figure) for name, figure in rows_of_runs([values], examples)]


def rows_of_runs(
    runs: Sequence[Mapping[str, float]], examples: str = "images"
) -> list[tuple[str, ...]]:
    """The same of several runs: a row for each figure, which has a column for each run.

    A figure has equal decimals in all runs, and is empty where a run has none.
    """
    shown = dict.fromkeys(key for values in runs for key in values if "/" not in key)
    rows = []
    for key in shown:
        if not key.endswith((ERROR, REAL, SPREAD, BETWEEN)) and not key.startswith(OF_LATENT):
            beside = (key, key + BETWEEN, key + REAL, key + SPREAD)
            rows += [
                (figure_name(each), *column_of_runs(each, runs)) for each in beside if each in shown
            ]
    if any(map(_rates, runs)):
        rows.append((known().meanings[OF_LATENT.rstrip("_")], *map(_rates, runs)))
    return [(in_words_of(name, examples), *figures) for name, *figures in rows]


def figure_of(key: str, values: Mapping[str, float]) -> str:
    """A figure with its error."""
    return _column([key], values)[0]


def column_of_runs(key: str, runs: Sequence[Mapping[str, float]]) -> list[str]:
    """A figure of each run with its error, in equal decimals; empty where a run has none."""
    together = dict.fromkeys((key.removesuffix(BETWEEN), key))  # deviations have its decimals
    places = [f"{each}/{place}" for each in together for place in range(len(runs))]
    found = {
        f"{each}/{place}{end}": values[each + end]
        for each in together
        for place, values in enumerate(runs)
        for end in ("", ERROR)
        if each + end in values
    }
    return _column(places, found)[-len(runs) :]


def _rates(values: Mapping[str, float]) -> str:
    """The largest rates of latents."""
    rates = sorted((it for key, it in values.items() if key.startswith(OF_LATENT)), reverse=True)
    return " ".join(f"{rate:.2f}" for rate in rates[:LATENTS])


def headlines(values: Mapping[str, float]) -> dict[str, float]:
    """The few figures that somebody looks for who only uses a model, with their errors.

    They are those of all examples together, without what stands beside them.
    """
    kept = [key for key in values if "/" not in key and _parts(key)[1] in known().headlines]
    return {key: it for key, it in values.items() if key.removesuffix(ERROR) in kept}


def in_words_of(name: str, examples: str) -> str:
    """The name of a figure, with the word for its examples."""
    one = one_of(examples)
    if one == "image":
        return name
    place = "voxel" if one == "patch" else "column"
    return name.replace("an image", f"a {one}").replace("image", one).replace("pixel", place)


def rows_by_label(values: Mapping[str, float]) -> list[tuple[str, ...]]:
    """A header and a row for each label, the one served worst by the first figure above; or [].

    A column has equal decimals. Of many labels those served best are left out.
    """
    parts = [key.split("/", 1) for key in values if "/" in key and not key.endswith(ERROR)]
    figures = dict.fromkeys(
        figure for figure, _ in parts if figure != UNSHOWN and not figure.endswith(REAL)
    )
    if not figures:
        return []
    first = next(iter(figures))
    sign = -1.0 if first.startswith(known().lower_is_better) else 1.0
    labels = sorted(
        {label for figure, label in parts if figure in figures},
        key=lambda label: sign * values.get(f"{first}/{label}", float("inf")),
    )[:LABELS]
    columns = [_column([f"{figure}/{label}" for label in labels], values) for figure in figures]
    header = ("label", *map(heading, figures))
    return [header, *zip(labels, *columns, strict=True)]


def figure_name(key: str) -> str:
    """What a figure is, in words that need no row above them."""
    for ending, words in BESIDE.items():
        if key.endswith(ending):
            return f"{_clause(figure_name(key.removesuffix(ending)))}: {words}"
    attribute, named = _parts(key)
    figure, of_level, level = named.partition(OF_LEVEL)
    return attribute + _meaning(figure) + (f", level {level}" if of_level else "")


def missing_name(key: str) -> str:
    """What a figure is, of a label that label's, or the metric that is named."""
    _, slash, label = key.partition("/")
    return figure_name(key) + (f", {label}" if slash else "")


def _meaning(figure: str) -> str:
    """What a figure is; one of a part, as ``mig_shape`` is, by the whole and the part's name."""
    meanings = known().meanings
    if figure in meanings:
        return meanings[figure]
    wholes = [name for name in meanings if figure.startswith(f"{name}_")]
    if not wholes:
        return figure.replace("_", " ")
    whole = max(wholes, key=len)
    return f"{_clause(meanings[whole])}: {figure.removeprefix(f'{whole}_')}"


def _clause(name: str) -> str:
    """What the name of a figure begins with, without its unit."""
    return re.split(r", | \((?![A-Z]{3}\))", name, maxsplit=1)[0]


def heading(key: str) -> str:
    """What a figure is, in the few words that have room above a column."""
    clause = _clause(figure_name(key))
    return clause if len(clause) <= HEADING else key.replace("_", " ")


def _parts(key: str) -> tuple[str, str]:
    """The attribute that a figure is of, with what parts them, and its name without."""
    attribute, colon, figure = key.partition("/")[0].rpartition(": ")
    return attribute + colon, figure


def _column(keys: Sequence[str], values: Mapping[str, float]) -> list[str]:
    """Figures below each other, empty where there is none.

    The least error has two digits that count, and every figure and error as many decimals; without
    errors the largest figure has five digits.
    """
    found = [values[key] for key in keys if key in values]
    errors = [values[key + ERROR] for key in keys if values.get(key + ERROR, 0.0) > 0.0]
    if not found:
        return [""] * len(keys)
    if any(_parts(key)[1].startswith(known().shares) for key in keys):
        decimals, factor, unit = 2, 100.0, " %"
    elif errors:
        decimals, factor, unit = 1 - _power(min(errors)), 1.0, ""
    elif all(value == int(value) for value in found):
        decimals, factor, unit = 0, 1.0, ""
    else:
        decimals, factor, unit = 4 - _power(max(map(abs, found))), 1.0, ""

    def written(value: float) -> str:
        return f"{factor * value:,.{max(0, min(decimals, MOST_DECIMALS))}f}"

    column = []
    for key in keys:
        error = values.get(key + ERROR)
        beside = "" if error is None else f" ± {written(error)}"
        column.append(written(values[key]) + beside + unit if key in values else "")
    return column


def _power(value: float) -> int:
    """The power of ten of the first digit of a number."""
    return math.floor(math.log10(value)) if value else 0
