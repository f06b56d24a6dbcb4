"""Which labels generated images are taken for: as figures and as a picture.

Legend: L labels; counts ``[L, L]`` are of images asked of a label (rows) and taken for one
(columns), by all judges together.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from distvae.evaluation.uncertainty import Estimate, estimate_metrics, share_error
from distvae.images import save_png
from distvae.text import printable, shortened

SIDE = 960
"""Pixels of the matrix, about, of which a cell takes at least and at most so many:"""
CELL, LARGEST = 12, 64
ROOMY = 30
"""Pixels of a cell that a number fits."""
MOST, LETTERS = 100, 16
EDGE = 32
TITLE = "label asked for (rows) and taken for (columns), percent of a row"
WHITE, LINE, INK = (255, 255, 255), (225, 225, 225), (40, 40, 40)
RIGHT, WRONG = (8, 81, 156), (178, 24, 43)


def confusion_metrics(counts: Tensor, label_names: Sequence[str]) -> Iterator[tuple[str, float]]:
    """The share of images asked of one label that are taken for another, where there are any.

    Args:
        counts: by each of J judges, int64 ``[L, L, J]``.
        label_names: of the labels.

    Yields:
        ``judge_confusion/ASKED>TAKEN`` with its ``_standard_error``.
    """
    asked_of = counts.sum(1)[:, 0]
    for asked, taken in counts.sum(2).nonzero().tolist():
        if asked != taken:
            shares = counts[asked, taken].double() / asked_of[asked]
            mean = float(shares.mean())
            sampling = share_error(mean * (1.0 - mean), int(asked_of[asked]))
            names = f"{label_names[asked]}>{label_names[taken]}"
            found = Estimate(tuple(shares.tolist()), sampling)
            yield from estimate_metrics(f"judge_confusion/{names}", found)


def write_confusion(path: Path, counts: Tensor, label_names: Sequence[str]) -> None:
    """Draw the share of each row's images as a PNG, the right ones blue and the wrong ones red.

    The colour goes with the root of a share, so that 1 % can be seen. Of more than 100 labels those
    are shown that are met least.
    """
    shares = (counts.double() / counts.sum(1, keepdim=True)).nan_to_num()
    shown = shares.diag().argsort()[:MOST].sort().values
    shares = shares[shown][:, shown]
    names = [_short(label_names[label]) for label in shown.tolist()]
    cell = min(LARGEST, max(CELL, SIDE // len(names)))
    font = ImageFont.load_default(max(10.0, min(16.0, cell * 0.6)))
    longest = int(max(font.getlength(name) for name in names))
    title = ImageFont.load_default(16.0)
    start, side = EDGE + longest + 12, cell * len(names)
    width = max(start + side, 8 + int(title.getlength(TITLE)))
    sheet = Image.new("RGB", (width + 8, start + side + 8), WHITE)
    canvas = ImageDraw.Draw(sheet)
    canvas.text((8, EDGE // 2), TITLE, INK, title, anchor="lm")
    for number, name in enumerate(names):
        middle = start + number * cell + cell // 2
        canvas.text((start - 6, middle), name, INK, font, anchor="rm")
        if longest <= cell:
            canvas.text((middle, start - 6), name, INK, font, anchor="ms")
        else:
            turned = Image.new("RGB", (longest, cell), WHITE)
            ImageDraw.Draw(turned).text((0, cell // 2), name, INK, font, anchor="lm")
            corner = (middle - cell // 2, start - 6 - longest)
            sheet.paste(turned.transpose(Image.Transpose.ROTATE_90), corner)
    for row, line in enumerate(shares.tolist()):
        for column, share in enumerate(line):
            corner = (start + column * cell, start + row * cell)
            _draw_cell(canvas, corner, cell, share, row == column)
    save_png(path, np.asarray(sheet).transpose(2, 0, 1))


def _short(name: str) -> str:
    return shortened(printable(name), LETTERS)


def _draw_cell(
    canvas: ImageDraw.ImageDraw, corner: tuple[int, int], cell: int, share: float, right: bool
) -> None:
    """One square with its share in percent, where it has room and there is something to tell."""
    strength = share**0.5
    ends = zip(WHITE, RIGHT if right else WRONG, strict=True)
    red, green, blue = (round(low + strength * (high - low)) for low, high in ends)
    left, top = corner
    canvas.rectangle((left, top, left + cell, top + cell), (red, green, blue), LINE)
    if share and cell >= ROOMY:
        font = ImageFont.load_default(min(16.0, cell * 0.36))
        percent = f"{100.0 * share:.1f}".removesuffix(".0")
        ink = WHITE if strength > 0.5 else INK
        canvas.text((left + cell // 2, top + cell // 2), percent, ink, font, anchor="mm")
