"""Curves of a run: what metrics.jsonl holds, drawn over the epochs. No torch."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from distvae.images import save_png
from distvae.reading import read_lines
from distvae.records import MetricsLine
from distvae.runs import METRICS

CURVES = "curves.png"
PANELS = {
    "elbo": "elbo, nats",
    "distortion": "distortion, nats",
    "rate": "rate, nats",
    "learning_rate": "learning rate",
    "kl_weight": "KL weight",
}
COLOURS = {"train": (120, 130, 145), "validation": (31, 119, 180), "test": (178, 24, 43)}
WHITE, INK, FAINT = (255, 255, 255), (40, 40, 40), (225, 228, 232)
ACROSS, WIDTH, HEIGHT = 3, 300, 190
LEFT, RIGHT, ABOVE, BELOW, TOP = 58, 14, 30, 34, 34
"""Around a panel, and above them all."""
FINE = 2
"""Drawn so many times as large, then shrunk, which smooths the lines."""
MOST_POINTS = 500
EARLY, ENOUGH = 0.05, 20
"""Share of a run whose values may lie beyond an axis, where so many come later."""
Colour = tuple[int, int, int]


class Curve(NamedTuple):
    """One figure of one split."""

    epochs: NDArray[np.float64]
    values: NDArray[np.float64]


Curves = dict[str, dict[str, Curve]]
"""By figure and split."""


def curves_of(folder: Path) -> Curves:
    """What metrics.jsonl of a run holds; of many lines, means of neighbouring ones."""
    points: dict[str, dict[str, list[tuple[float, float]]]] = {name: {} for name in PANELS}
    path = folder / METRICS
    for _, line in read_lines(path, MetricsLine, []) if path.exists() else ():
        for name, by_split in points.items():
            value = line.values.get(name)
            if isinstance(value, int | float) and math.isfinite(value) and line.split in COLOURS:
                by_split.setdefault(line.split, []).append((line.epoch, float(value)))
    return {
        name: {split: _thinned(np.array(found)) for split, found in by_split.items()}
        for name, by_split in points.items()
        if by_split
    }


def _thinned(points: NDArray[np.float64]) -> Curve:
    """At most so many points of ``[N, 2]``, each the mean of its neighbours."""
    parts = np.array_split(points, min(len(points), MOST_POINTS))
    means = np.array([part.mean(0) for part in parts])
    return Curve(means[:, 0], means[:, 1])


def write_curves(folder: Path) -> Path | None:
    """Draw curves.png of a run folder; nothing where nothing was measured yet.

    A split that is measured between epochs has a dot for each time.
    """
    curves = curves_of(folder)
    if not curves:
        return None
    down = -(-len(curves) // ACROSS)
    wide, high = LEFT + WIDTH + RIGHT, ABOVE + HEIGHT + BELOW
    size = min(ACROSS, len(curves)) * wide, TOP + down * high
    sheet = Image.new("RGB", (FINE * size[0], FINE * size[1]), WHITE)
    pen = Pen(ImageDraw.Draw(sheet))
    _name_splits(pen, folder.resolve().name, curves)
    end = max(curve.epochs.max() for splits in curves.values() for curve in splits.values())
    for number, (name, splits) in enumerate(curves.items()):
        left = number % ACROSS * wide + LEFT
        top = TOP + number // ACROSS * high + ABOVE
        _draw_panel(pen, (left, top), PANELS[name], splits, float(end))
    shrunk = np.asarray(sheet.resize(size, Image.Resampling.LANCZOS))
    save_png(folder / CURVES, shrunk.transpose(2, 0, 1))
    return folder / CURVES


class Pen:
    """Draws in the units of the finished picture.

    Args:
        canvas: ``FINE`` times as large.
    """

    def __init__(self, canvas: ImageDraw.ImageDraw) -> None:
        self._canvas = canvas
        self._font = ImageFont.load_default(12.0 * FINE)

    def line(self, points: Sequence[tuple[float, float]], colour: Colour, width: float) -> None:
        """A line through points."""
        corners = [(FINE * x, FINE * y) for x, y in points]
        self._canvas.line(corners, colour, round(FINE * width), "curve")

    def dot(self, x: float, y: float, colour: Colour) -> None:
        """A dot of 5 pixels."""
        ends = x - 2.5, y - 2.5, x + 2.5, y + 2.5
        self._canvas.ellipse([FINE * end for end in ends], colour)

    def text(self, x: float, y: float, text: str, anchor: str, colour: Colour = INK) -> float:
        """Text at an anchor; returns its width."""
        self._canvas.text((FINE * x, FINE * y), text, colour, self._font, anchor)
        return float(self._font.getlength(text)) / FINE


def _name_splits(pen: Pen, name: str, curves: Mapping[str, Mapping[str, Curve]]) -> None:
    at = LEFT + pen.text(LEFT, TOP / 2, name, "lm") + 24.0
    for split, colour in COLOURS.items():
        if any(split in splits for splits in curves.values()):
            at += pen.text(at, TOP / 2, split, "lm", colour) + 16.0


def _draw_panel(
    pen: Pen, corner: tuple[int, int], title: str, splits: Mapping[str, Curve], end: float
) -> None:
    left, top = corner
    low, high = axis(splits, EARLY * end)
    pen.text(left, top - 14, title, "lm")
    for value in ticks(low, high):
        y = top + HEIGHT * (high - value) / (high - low)
        pen.line([(left, y), (left + WIDTH, y)], FAINT, 1)
        pen.text(left - 6, y, f"{value:g}", "rm")
    for epoch in ticks(0.0, end):
        pen.text(left + WIDTH * epoch / end, top + HEIGHT + 12, f"{epoch:g}", "mm")
    pen.text(left + WIDTH, top + HEIGHT + 26, "epoch", "rm")
    pen.line([(left, top + HEIGHT), (left + WIDTH, top + HEIGHT)], INK, 1)
    for split, curve in splits.items():
        heights = np.clip((high - curve.values) / (high - low), 0.0, 1.0)
        points = [
            (left + WIDTH * epoch / end, top + HEIGHT * part)
            for epoch, part in zip(curve.epochs, heights, strict=True)
        ]
        pen.line(points, COLOURS[split], 1.5)
        if split != "train" and len(points) <= WIDTH // 6:
            for point in points:
                pen.dot(*point, COLOURS[split])


def axis(splits: Mapping[str, Curve], early: float) -> tuple[float, float]:
    """Both ends of the axis of a figure: room for all values, but for those of early epochs."""
    values = np.concatenate([curve.values for curve in splits.values()])
    later = np.concatenate([curve.values[curve.epochs > early] for curve in splits.values()])
    kept = later if len(later) >= ENOUGH else values
    low, high = float(kept.min()), float(kept.max())
    room = 0.04 * (high - low) or max(abs(high), 1e-3) * 0.1
    return low - room, high + room


def ticks(low: float, high: float) -> list[float]:
    """Three to six round numbers between two ends.

    >>> ticks(-103.0, -87.0)
    [-100.0, -95.0, -90.0]
    """
    rough = (high - low) / 4.0
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * times for times in (1.0, 2.0, 5.0, 10.0) if power * times >= rough * 0.8)
    first = math.ceil(low / step - 1e-9)
    return [round(number * step, 12) for number in range(first, math.floor(high / step + 1e-9) + 1)]
