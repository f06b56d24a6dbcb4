"""Grids of images and PNG files. Needs numpy and pillow only."""

import struct
import textwrap
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from distvae.errors import shortened
from distvae.files import replacing_file
from distvae.text import printable

SHEET_PIXELS = 1000
PADDING = 2
BACKGROUND, INK = 96, 255
LETTERS, GAP = 32, 8
"""Longest name of a row, and what lies around text."""


def to_uint8(images: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Images in [0, 1] as grey levels 0 to 255, rounded."""
    levels: NDArray[np.uint8] = np.rint(np.clip(images, 0.0, 1.0) * 255.0).astype(np.uint8)
    return levels


def grid(images: NDArray[np.uint8], columns: int) -> NDArray[np.uint8]:
    """Images ``[N, C, H, W]`` row by row on one sheet ``[C, rows, columns]`` with borders.

    Where no image is, there is the background.
    """
    count, channels, height, width = images.shape
    rows = -(-count // columns)
    cells = np.full((rows * columns, channels, height, width), BACKGROUND, np.uint8)
    cells[:count] = images
    border = ((0, 0), (0, 0), (0, PADDING), (0, PADDING))
    cells = np.pad(cells, border, constant_values=BACKGROUND)
    sheet = cells.reshape(rows, columns, channels, height + PADDING, width + PADDING)
    sheet = sheet.transpose(2, 0, 3, 1, 4).reshape(channels, rows * (height + PADDING), -1)
    return sheet[:, :-PADDING, :-PADDING]


def paired(above: NDArray[np.uint8], below: NDArray[np.uint8], columns: int) -> NDArray[np.uint8]:
    """Two sets of images ``[N, C, H, W]``, row by row above each other, for a sheet.

    Returns:
        Images ``[2 * rows * columns, C, H, W]``; background where the last rows are short.
    """
    rows = -(-len(above) // columns)
    sheet = np.full((2, rows * columns, *above.shape[1:]), BACKGROUND, np.uint8)
    sheet[0, : len(above)], sheet[1, : len(below)] = above, below
    by_row = sheet.reshape(2, rows, columns, *above.shape[1:]).swapaxes(0, 1)
    return by_row.reshape(-1, *above.shape[1:])


def save_png(path: Path, image: NDArray[Any]) -> None:
    """Write one image ``[C, H, W]`` of 8 or 16 bits, grey or colour, whole or not at all."""
    if image.dtype == np.uint16:
        with replacing_file(path) as temporary:
            temporary.write_bytes(_png_of_16_bits(image))
        return
    picture = Image.fromarray(image[0] if image.shape[0] == 1 else image.transpose(1, 2, 0))
    with replacing_file(path) as temporary:
        # by its name, of all formats that of the name alone is imported
        picture.save(temporary, format=None if path.suffix == ".png" else "PNG")


def _png_of_16_bits(image: NDArray[np.uint16]) -> bytes:
    """Grey or colour ``[C, H, W]`` as a PNG file, of which Pillow writes grey alone."""
    channels, height, width = image.shape
    rows = image.transpose(1, 2, 0).astype(">u2").reshape(height, -1).view(np.uint8)
    plain = np.pad(rows, ((0, 0), (1, 0)))  # each row begins with its filter, none
    head = struct.pack(">2I5B", width, height, 16, 0 if channels == 1 else 2, 0, 0, 0)
    chunks = {b"IHDR": head, b"IDAT": zlib.compress(plain.tobytes(), 6), b"IEND": b""}
    parts = [
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks.items()
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def save_grid(
    path: Path,
    images: NDArray[np.uint8],
    columns: int,
    names: Sequence[str] = (),
    caption: str = "",
) -> None:
    """Write a sheet of images, small ones enlarged by a whole factor so that a person can see.

    Args:
        path: of the file.
        images: ``[N, C, H, W]``.
        columns: images in a row.
        names: of the rows, at their left; left out: rows have none.
        caption: above them all.
    """
    sheet = grid(images, columns)
    factor = max(1, SHEET_PIXELS // max(sheet.shape[1:]))
    sheet = sheet.repeat(factor, axis=1).repeat(factor, axis=2)
    if caption or any(names):
        sheet = _labelled(sheet, (images.shape[2] + PADDING) * factor, names, caption)
    save_png(path, sheet)


def _labelled(
    sheet: NDArray[np.uint8], step: int, names: Sequence[str], caption: str
) -> NDArray[np.uint8]:
    """A sheet ``[C, H, W]`` with names at the left of its rows, which are ``step`` pixels apart."""
    from PIL import ImageDraw, ImageFont

    shown = [shortened(printable(name), LETTERS) for name in names]
    font = ImageFont.load_default(max(9.0, min(18.0, 0.6 * step)))
    left = max((GAP + int(font.getlength(name)) + GAP for name in shown), default=0)
    lines, line = [], ImageFont.load_default(14.0)
    if caption:
        letters = max(20, int((left + sheet.shape[2]) / line.getlength("x")))
        lines = textwrap.wrap(printable(caption), letters)
    above = len(lines) * 18 + GAP if lines else 0
    width = left + sheet.shape[2]
    result = Image.new("RGB" if sheet.shape[0] == 3 else "L", (width, above + sheet.shape[1]))
    ink, background = ((INK,) * sheet.shape[0], (BACKGROUND,) * sheet.shape[0])
    canvas = ImageDraw.Draw(result)
    canvas.rectangle((0, 0, *result.size), background)
    for number, text in enumerate(lines):
        canvas.text((GAP, GAP // 2 + 18 * number), text, ink, line)
    for number, name in enumerate(shown):
        middle = above + number * step + step / 2
        canvas.text((left - GAP, middle), name, ink, font, anchor="rm")
    pixels = np.array(result)
    pixels = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    pixels[:, above:, left:] = sheet
    return pixels
