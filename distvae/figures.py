"""Measured figures as tables: those of all images, and those of each label. No torch."""

import functools
from collections.abc import Mapping
from typing import NamedTuple

from distvae.declarations import declared
from distvae.parts import MetricPart

ERROR, OF_LATENT, REAL, SPREAD = "_standard_error", "rate_latent_", "_real", "_spread"
OF_LEVEL = "_level_"
"""Between the name of a figure and that of the level of latents it is of."""
BETWEEN, CERTAINTY = "_between_judges", "_certainty"
LATENTS, LABELS = 10, 20
"""Shown at most."""
UNSHOWN = "judge_confusion"
"""By label: that is a picture."""


class Known(NamedTuple):
    """What the metrics say of their figures."""

    meanings: dict[str, str]
    shares: tuple[str, ...]
    """What the names of figures that are shares of one begin with."""
    lower_is_better: tuple[str, ...]
    """The same of those that are better the lower they are."""


@functools.cache
def known() -> Known:
    """Of all metrics together."""
    parts = [one.part for one in declared("metric").values() if issubclass(one.part, MetricPart)]
    return Known(
        {name: meaning for part in parts for name, meaning in part.meanings.items()},
        tuple(name for part in parts for name in part.shares),
        tuple(name for part in parts for name in part.lower_is_better),
    )


def rows_of(values: Mapping[str, float], examples: str = "images") -> list[tuple[str, str]]:
    """The figures of all examples, each with its error beside it.

    Args:
        values: by name.
        examples: what they are called.
    """
    shown = {key: value for key, value in values.items() if "/" not in key}
    rates = sorted(shown.pop(key) for key in list(shown) if key.startswith(OF_LATENT))[::-1]
    rows = []
    for key in shown:
        if not key.endswith((ERROR, REAL, SPREAD, BETWEEN)):
            beside = (key, key + BETWEEN, key + REAL, key + SPREAD)
            rows += [(_shown(each), _figure(each, values)) for each in beside if each in shown]
    if rates:
        most = " ".join(f"{rate:.2f}" for rate in rates[:LATENTS])
        rows.append(("KL by latent, nats, the largest first", most))
    return [(_of(name, examples), figure) for name, figure in rows]


def _of(name: str, examples: str) -> str:
    """The name of a figure, with the word for its examples."""
    one = examples.removesuffix("s")
    if one == "image":
        return name
    return name.replace("an image", f"a {one}").replace("image", one).replace("pixel", "column")


def rows_by_label(values: Mapping[str, float]) -> list[tuple[str, ...]]:
    """A header and a row for each label, the one served worst by the first figure above; or [].

    Of many labels those served best are left out.
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
    )
    rows = [
        (label, *(_figure(f"{figure}/{label}", values) for figure in figures))
        for label in labels[:LABELS]
    ]
    return [("label", *figures), *rows]


def percent(share: float) -> str:
    """A share of one with two decimals in percent.

    >>> percent(0.98765)
    '98.77 %'
    """
    return f"{100.0 * share:.2f} %"


def _shown(key: str) -> str:
    if key.endswith(REAL):
        return "  of real images"
    if key.endswith(SPREAD):
        return "  between labels, best to worst, less the bias of the choice"
    if key.endswith(BETWEEN):
        return "  between judges, deviation of one"
    attribute, named = _parts(key)
    figure, of_level, level = named.partition(OF_LEVEL)
    return (
        attribute + known().meanings.get(figure, figure) + (f", level {level}" if of_level else "")
    )


def _parts(key: str) -> tuple[str, str]:
    """The attribute that a figure is of, with what parts them, and its name without."""
    attribute, colon, figure = key.partition("/")[0].rpartition(": ")
    return attribute + colon, figure


def _figure(key: str, values: Mapping[str, float]) -> str:
    if key not in values:
        return ""
    share = _parts(key)[1].startswith(known().shares)
    rounded = percent(values[key]) if share else f"{values[key]:.5g}"
    if (error := values.get(key + ERROR)) is None:
        return rounded
    return f"{rounded} ± {percent(error) if share else f'{error:.2g}'}"
