"""Pictures of points in a plane, coloured by label, with the names of the labels.

Legend: n points, L labels.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from distvae.images import save_png
from distvae.text import printable, shortened

SIDE, EDGE, TOP, FINE = 560, 16, 34, 2
"""Pixels of a plane, around it and above it; drawn so many times as large, then shrunk."""
LINE, MOST = 18, 20
"""Pixels of a line of the legend, and labels in it."""
WHITE, INK, GREY = (255, 255, 255), (40, 40, 40), (160, 160, 160)
COLOURS = (
    *((31, 119, 180), (255, 127, 14), (44, 160, 44), (214, 39, 40), (148, 103, 189)),
    *((140, 86, 75), (227, 119, 194), (90, 90, 90), (188, 189, 34), (23, 190, 207)),
    *((57, 59, 121), (206, 162, 98), (99, 121, 57), (173, 73, 74), (165, 81, 148)),
    *((107, 110, 207), (231, 186, 82), (181, 207, 107), (231, 150, 156), (123, 65, 115)),
)


class Plane(NamedTuple):
    """Some points."""

    title: str
    points: NDArray[np.floating]
    """``[n, 2]``."""
    labels: NDArray[np.int64]
    """``[n]``, -1 of those that have none."""


def draw_planes(path: Path, planes: Sequence[Plane], names: Sequence[str]) -> None:
    """Write planes beside each other, and at their right what the colours mean.

    Args:
        path: of the PNG.
        planes: at least one.
        names: of the labels, L; of more than ``MOST`` the others share a grey.
    """
    font = ImageFont.load_default(13.0 * FINE)
    shown = [shortened(printable(name), 24) for name in names[:MOST]]
    shown += ["other labels"] if len(names) > MOST else []
    right = max((int(font.getlength(name)) // FINE + 40 for name in shown), default=0)
    width = len(planes) * (SIDE + EDGE) + EDGE + right
    height = max(TOP + SIDE, TOP + LINE * len(shown)) + EDGE
    sheet = Image.new("RGB", (FINE * width, FINE * height), WHITE)
    pen = ImageDraw.Draw(sheet)
    for number, plane in enumerate(planes):
        left = EDGE + number * (SIDE + EDGE)
        title = shortened(plane.title, 80)
        pen.text((FINE * left, FINE * TOP / 2), title, INK, font, "lm")
        _draw_points(pen, plane, left, len(names))
    left = width - right + 8
    for number, name in enumerate(shown):
        y = TOP + LINE * number + LINE / 2
        colour = COLOURS[number] if number < MOST else GREY
        _dot(pen, left + 4, y, 4.0, colour)
        pen.text((FINE * (left + 16), FINE * y), name, INK, font, "lm")
    shrunk = np.asarray(sheet.resize((width, height), Image.Resampling.LANCZOS))
    save_png(path, shrunk.transpose(2, 0, 1))


def _draw_points(pen: ImageDraw.ImageDraw, plane: Plane, left: int, labels: int) -> None:
    frame = [FINE * edge for edge in (left, TOP, left + SIDE, TOP + SIDE)]
    pen.rectangle(frame, outline=(210, 210, 210))
    low, high = plane.points.min(0), plane.points.max(0)
    span = float(max(high - low)) or 1.0  # both axes have one scale
    middle = (low + high) / 2
    radius = 3.0 if len(plane.points) <= 500 else 2.0 if len(plane.points) <= 2000 else 1.4
    places = (plane.points - middle) / span * (SIDE - 24) + SIDE / 2
    turn = np.argsort(np.arange(len(places)) * 7919 % max(1, len(places)), kind="stable")
    for row in turn.tolist():  # in no order of labels, so that none covers the others
        label = int(plane.labels[row])
        colour = COLOURS[label] if 0 <= label < MOST else GREY
        colour = COLOURS[0] if not labels else colour
        x, y = places[row].tolist()
        _dot(pen, left + x, TOP + SIDE - y, radius, colour)


def _dot(
    pen: ImageDraw.ImageDraw, x: float, y: float, radius: float, colour: tuple[int, int, int]
) -> None:
    ends = x - radius, y - radius, x + radius, y + radius
    pen.ellipse([FINE * end for end in ends], colour)
