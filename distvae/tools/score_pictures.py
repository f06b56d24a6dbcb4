"""Pictures of scores: the strangest examples beside the most usual, and a histogram."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from distvae.curves import FAINT, FINE, INK, WHITE, ticks
from distvae.domains import images_of
from distvae.images import save_grid, save_png
from distvae.text import counted
from distvae.tools.examples import Examples

if TYPE_CHECKING:
    from distvae.tools.score import ScoreResult

COLUMNS = 10
BINS = 60
WIDTH, HEIGHT, LEFT, ABOVE, BELOW = 640, 240, 24, 34, 34
COLOURS = ((178, 24, 43), (31, 119, 180))
"""Of what was scored, or of anomalies, and of what that is compared with."""
USUAL = ("held out", "usual")


def write_sheet(path: Path, result: "ScoreResult", examples: Examples, count: int) -> None:
    """The strangest examples above, the most usual below, each row by falling strangeness."""
    order = np.argsort(-result.score, kind="stable")
    half = max(1, min(count, len(order) // 2))
    columns = min(COLUMNS, half)
    halves, names = [], []
    for places, what in ((order[:half], "strangest"), (order[-half:], "most usual")):
        stored = examples.at(result.rows[places]).stored
        rows = -(-len(stored) // columns)
        gap = np.full((rows * columns - len(stored), *stored.shape[1:]), 96, stored.dtype)
        halves += [stored, gap]
        for row in range(rows):
            own = result.score[places[row * columns : (row + 1) * columns]]
            names.append(f"{what if not row else ''} {own[0]:.3g} to {own[-1]:.3g}".strip())
    caption = (
        f"of {counted(len(order), 'examples')}, by score: the share that the model does not explain"
    )
    pictures = images_of(examples.domain).pictures(np.concatenate(halves))
    save_grid(path, pictures, columns, names, caption)


def write_histogram(path: Path, groups: Mapping[str, NDArray[np.float64]]) -> None:
    """How often each score is, of each group as a share of its examples."""
    values = np.concatenate(list(groups.values()))
    low, high = (float(end) for end in np.quantile(values, [0.0, 0.999]))
    high = high if high > low else low + max(abs(low), 1.0)
    edges = np.linspace(low, high, BINS + 1)
    shares = {
        name: np.histogram(np.minimum(each, high), edges)[0] / len(each)
        for name, each in groups.items()
    }
    most = max(float(share.max()) for share in shares.values())
    size = LEFT + WIDTH + LEFT, ABOVE + HEIGHT + BELOW
    sheet = Image.new("RGB", (FINE * size[0], FINE * size[1]), WHITE)
    canvas, font = ImageDraw.Draw(sheet), ImageFont.load_default(12.0 * FINE)
    for value in ticks(low, high):
        x = FINE * (LEFT + WIDTH * (value - low) / (high - low))
        canvas.line([(x, FINE * ABOVE), (x, FINE * (ABOVE + HEIGHT))], FAINT, FINE)
        canvas.text((x, FINE * (ABOVE + HEIGHT + 12)), f"{value:g}", INK, font, "mm")
    at = FINE * LEFT
    for name, share in shares.items():
        colour = COLOURS[name in USUAL]
        corners = _outline(share / most, edges, low, high)
        canvas.line(corners, colour, 2 * FINE)
        text = f"{name}, {len(groups[name]):,}"
        canvas.text((at, FINE * ABOVE / 2), text, colour, font, "lm")
        at += int(font.getlength(text)) + 16 * FINE
    bottom = FINE * (ABOVE + HEIGHT)
    canvas.line([(FINE * LEFT, bottom), (FINE * (LEFT + WIDTH), bottom)], INK, FINE)
    canvas.text((FINE * (LEFT + WIDTH), FINE * (ABOVE + HEIGHT + 26)), "score", INK, font, "rm")
    shrunk = np.asarray(sheet.resize(size, Image.Resampling.LANCZOS))
    save_png(path, shrunk.transpose(2, 0, 1))


def _outline(
    shares: NDArray[np.float64], edges: NDArray[np.float64], low: float, high: float
) -> list[tuple[float, float]]:
    """The corners of steps of these heights, of 1, in the units of the drawing."""
    across = FINE * (LEFT + WIDTH * (edges - low) / (high - low))
    down = FINE * (ABOVE + HEIGHT * (1.0 - shares))
    x, y = np.repeat(across, 2)[1:-1], np.repeat(down, 2)
    return list(zip(x.tolist(), y.tolist(), strict=True))
