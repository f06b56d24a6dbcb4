"""Parallel coordinates: an axis for each setting and number, a line for each run. No torch."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from distvae.curves import FAINT, FINE, INK, WHITE, Colour, Pen, ticks
from distvae.figures import heading
from distvae.images import save_png
from distvae.sweeps.results import Result, best_of, columns, ordered

GAP, HEIGHT, SIDE, TOP, BELOW = 150, 320, 90, 64, 28
"""Between two axes, of an axis, and around them all, in pixels."""
NARROWEST = 620
WORST, BETTER, BEST = (203, 213, 225), (31, 119, 180), (178, 24, 43)
MOST_VALUES = 20
"""Written beside an axis."""


class Axis(NamedTuple):
    """One axis, from bottom to top."""

    name: str
    marks: list[tuple[float, str]]
    """Heights between 0 and 1, and what is written there."""
    heights: list[float | None]
    """Of each run; None where it has no such number."""


def axes_of(results: Sequence[Result], by: str) -> list[Axis]:
    """Settings in the order of their values, numbers to scale, the one that chooses last."""
    settings, numbers = columns(results, by)
    found = [_of_setting(name, results) for name in settings]
    numbers = sorted(numbers, key=lambda name: name == by)
    return [*found, *(_of_number(name, results) for name in numbers)]


def _of_setting(name: str, results: Sequence[Result]) -> Axis:
    values = [each.point.values[name] for each in results]
    options = list(dict.fromkeys(values))
    if all(map(_is_number, options)):
        options.sort(key=float)
    place = {value: number / max(1, len(options) - 1) for number, value in enumerate(options)}
    every = -(-len(options) // MOST_VALUES)
    marks = [(place[value], value) for value in options[::every]]
    return Axis(name, marks, [place[value] for value in values])


def _of_number(name: str, results: Sequence[Result]) -> Axis:
    values = [each.numbers.get(name) for each in results]
    there = [value for value in values if value is not None and np.isfinite(value)]
    low, high = min(there, default=0.0), max(there, default=1.0)
    equal = low == high
    if equal:
        low, high = low - 0.5, high + 0.5
    heights = [
        None if value is None or not np.isfinite(value) else (value - low) / (high - low)
        for value in values
    ]
    told = [low + 0.5] if equal else ticks(low, high)
    marks = [((value - low) / (high - low), f"{value:.4g}") for value in told]
    return Axis(heading(name), marks, heights)


def write_picture(path: Path, results: Sequence[Result], by: str) -> None:
    """Draw the runs: the better, the bluer; the best is red and on top."""
    axes = axes_of(results, by)
    size = max(NARROWEST, 2 * SIDE + GAP * (len(axes) - 1)), TOP + HEIGHT + BELOW
    sheet = Image.new("RGB", (FINE * size[0], FINE * size[1]), WHITE)
    pen = Pen(ImageDraw.Draw(sheet))
    for number, axis in enumerate(axes):
        x = float(SIDE + GAP * number)
        pen.line([(x, TOP), (x, TOP + HEIGHT)], FAINT, 1.5)
        pen.text(x, TOP - 22, axis.name, "mm")
    best = best_of(results, by)
    quality = _quality(results, by)
    for place in sorted(range(len(results)), key=lambda place: quality[place]):
        chosen = results[place] is best
        for line in _lines(axes, place):
            colour = BEST if chosen else _mixed(quality[place])
            pen.line(line, colour, 3.0 if chosen else 1.5)
            for point in line:
                pen.dot(*point, colour)
    for number, axis in enumerate(axes):
        for height, text in axis.marks:
            x, y = float(SIDE + GAP * number - 7), TOP + HEIGHT * (1.0 - height)
            pen.text(x, y, text, "rm", INK)
    if best is not None:
        pen.text(SIDE / 4, 18, f"best by {by.replace('_', ' ')}: {best.point.name}", "lm", BEST)
    shrunk = np.asarray(sheet.resize(size, Image.Resampling.LANCZOS))
    save_png(path, shrunk.transpose(2, 0, 1))


def _lines(axes: Sequence[Axis], place: int) -> list[list[tuple[float, float]]]:
    """The parts of a run's line between axes on which it has no number."""
    parts: list[list[tuple[float, float]]] = [[]]
    for number, axis in enumerate(axes):
        height = axis.heights[place]
        if height is None:
            parts.append([])
        else:
            parts[-1].append((float(SIDE + GAP * number), TOP + HEIGHT * (1.0 - height)))
    return [part for part in parts if len(part) > 1]


def _quality(results: Sequence[Result], by: str) -> list[float]:
    """The rank of each run by its number, from 0 to 1; those without it are below all."""
    order = ordered(results, by)
    count = max(1, len(order) - 1)
    rank = {id(each): 1.0 - number / count for number, each in enumerate(order)}
    return [rank[id(each)] if by in each.numbers else -1.0 for each in results]


def _mixed(quality: float) -> Colour:
    share = max(0.0, quality)
    red, green, blue = (
        round(low + share * (high - low)) for low, high in zip(WORST, BETTER, strict=True)
    )
    return red, green, blue


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
