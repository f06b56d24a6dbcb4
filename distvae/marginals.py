"""A picture of columns of numbers: how real and generated ones are distributed. No torch.

Legend: F columns, N real rows, M generated ones.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from distvae.errors import shortened
from distvae.images import save_png
from distvae.text import printable

MOST = 48
"""Columns that are drawn: the first ones."""
ACROSS, WIDTH, HEIGHT, EDGE = 6, 150, 96, 10
LEAST_BINS, MOST_BINS, LETTERS = 6, 24, 20
OUTSIDE = 0.5
"""Percent of the rows beyond either end of an axis, which would make the rest too narrow to see."""
WHITE, BAR, LINE, INK = (255, 255, 255), (200, 205, 212), (178, 24, 43), (40, 40, 40)
TITLE = "grey: real rows, red line: generated ones"


def write_marginals(
    path: Path, columns: Sequence[str], real: NDArray[np.float32], drawn: NDArray[np.float32]
) -> None:
    """Write a PNG with a histogram of each of the first columns.

    Args:
        path: of the file.
        columns: their names, F.
        real: ``[N, F]``, at least one row.
        drawn: ``[M, F]``, at least one row.
    """
    shown = min(len(columns), MOST)
    across, down = min(ACROSS, shown), -(-shown // ACROSS)
    size = (EDGE + across * (WIDTH + EDGE), 2 * EDGE + 16 + down * (HEIGHT + 40))
    sheet = Image.new("RGB", (max(size[0], 280), size[1]), WHITE)
    canvas, font = ImageDraw.Draw(sheet), ImageFont.load_default(11.0)
    title = TITLE if shown == len(columns) else f"{TITLE}; {shown} of {len(columns)} columns"
    canvas.text((EDGE, EDGE), title, INK, font)
    for number in range(shown):
        left = EDGE + number % across * (WIDTH + EDGE)
        top = EDGE + 30 + number // across * (HEIGHT + 40)
        name = shortened(printable(columns[number]), LETTERS)
        canvas.text((left, top - 14), name, INK, font)
        _draw(canvas, (left, top), font, real[:, number], drawn[:, number])
    save_png(path, np.asarray(sheet).transpose(2, 0, 1))


def histograms(
    real: NDArray[np.float32], drawn: NDArray[np.float32]
) -> tuple[NDArray[np.float64], NDArray[np.float64], tuple[float, float]]:
    """Shares of real and of generated numbers in even bins, and the two ends of the axis.

    What lies beyond an end is in its last bin.
    """
    ends = [np.percentile(side, (OUTSIDE, 100.0 - OUTSIDE)) for side in (real, drawn)]
    low, high = float(min(e[0] for e in ends)), float(max(e[1] for e in ends))
    if not high > low:
        low, high = low - 0.5 - 1e-3 * abs(low), high + 0.5 + 1e-3 * abs(high)
    bins = min(MOST_BINS, max(LEAST_BINS, round(min(len(real), len(drawn)) ** 0.5)))
    counts = [np.histogram(side.clip(low, high), bins, (low, high))[0] for side in (real, drawn)]
    return counts[0] / len(real), counts[1] / len(drawn), (low, high)


def _draw(
    canvas: ImageDraw.ImageDraw,
    corner: tuple[int, int],
    font: ImageFont.ImageFont | ImageFont.FreeTypeFont,
    real: NDArray[np.float32],
    drawn: NDArray[np.float32],
) -> None:
    """One column: bars of the real numbers, a line of steps over them, both ends below."""
    left, bottom = corner[0], corner[1] + HEIGHT
    bars, steps, ends = histograms(real, drawn)
    scale = HEIGHT / max(bars.max(), steps.max())
    edges = [left + round(number * WIDTH / len(bars)) for number in range(len(bars) + 1)]
    line = [(left, bottom)]
    for number, (bar, step) in enumerate(zip(bars * scale, steps * scale, strict=True)):
        begin, end = edges[number : number + 2]
        canvas.rectangle((begin, bottom - round(bar), end, bottom), BAR)
        line += [(begin, bottom - round(step)), (end, bottom - round(step))]
    canvas.line([*line, (left + WIDTH, bottom)], LINE, 2)
    canvas.line([(left, bottom), (left + WIDTH, bottom)], INK)
    canvas.text((left, bottom + 3), f"{ends[0]:.4g}", INK, font)
    canvas.text((left + WIDTH, bottom + 3), f"{ends[1]:.4g}", INK, font, anchor="ra")
