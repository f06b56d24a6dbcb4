"""Grids of images and PNG files. Needs numpy and pillow only."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from distvae.files import replacing_file

SHEET_PIXELS = 1000
PADDING = 2


def to_uint8(images: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Images in [0, 1] as grey levels 0 to 255, rounded."""
    levels: NDArray[np.uint8] = np.rint(np.clip(images, 0.0, 1.0) * 255.0).astype(np.uint8)
    return levels


def grid(images: NDArray[np.uint8], columns: int) -> NDArray[np.uint8]:
    """Images ``[N, C, H, W]`` row by row on one sheet ``[C, rows, columns]`` with borders."""
    count, channels, height, width = images.shape
    rows = -(-count // columns)
    cells = np.zeros((rows * columns, channels, height, width), np.uint8)
    cells[:count] = images
    border = ((0, 0), (0, 0), (0, PADDING), (0, PADDING))
    cells = np.pad(cells, border, constant_values=96)
    sheet = cells.reshape(rows, columns, channels, height + PADDING, width + PADDING)
    sheet = sheet.transpose(2, 0, 3, 1, 4).reshape(channels, rows * (height + PADDING), -1)
    return sheet[:, :-PADDING, :-PADDING]


def paired(above: NDArray[np.uint8], below: NDArray[np.uint8], columns: int) -> NDArray[np.uint8]:
    """Two sets of images ``[N, C, H, W]``, row by row above each other, for a sheet.

    Returns:
        Images ``[2 * rows * columns, C, H, W]``; where the last rows are short, black ones.
    """
    rows = -(-len(above) // columns)
    sheet = np.zeros((2, rows * columns, *above.shape[1:]), np.uint8)
    sheet[0, : len(above)], sheet[1, : len(below)] = above, below
    by_row = sheet.reshape(2, rows, columns, *above.shape[1:]).swapaxes(0, 1)
    return by_row.reshape(-1, *above.shape[1:])


def save_png(path: Path, image: NDArray[np.uint8]) -> None:
    """Write one image ``[C, H, W]``, grey (C = 1) or colour (C = 3), whole or not at all."""
    picture = Image.fromarray(image[0] if image.shape[0] == 1 else image.transpose(1, 2, 0))
    with replacing_file(path) as temporary:
        picture.save(temporary, format="PNG")


def save_grid(path: Path, images: NDArray[np.uint8], columns: int) -> None:
    """Write a sheet of images, small ones enlarged by a whole factor so that a person can see."""
    sheet = grid(images, columns)
    factor = max(1, SHEET_PIXELS // max(sheet.shape[1:]))
    save_png(path, sheet.repeat(factor, axis=1).repeat(factor, axis=2))
