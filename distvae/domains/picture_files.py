"""Images that were drawn, as files: one sheet for the eye, or a file for each.

Legend: N images, C channels, H height, W width.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distvae.domains.base import EACH
from distvae.drawings import Drawing, check_at_once, check_room
from distvae.files import new_folder
from distvae.text import file_name

MOST_COLUMNS = 20
"""Of a sheet whose rows are labels."""
SMALLEST_PNG = 67
"""Bytes of a picture of one pixel."""


def write_sheet(
    output: Path, drawing: Drawing, pictures: Callable[[NDArray[Any]], NDArray[np.uint8]]
) -> None:
    """A sheet with a label in a row; one image alone as it is stored.

    Args:
        output: the file.
        drawing: images ``[B, C, H, W]``.
        pictures: makes 8 bits of what is stored.
    """
    from distvae.images import save_grid, save_png

    check_at_once(output, drawing)
    images = np.concatenate([images for images, _ in drawing])
    if len(images) == 1 and images.dtype != np.uint8:
        save_png(output, images[0])
        return
    columns = drawing.count if 1 < drawing.count <= MOST_COLUMNS else EACH  # a row is a label
    save_grid(output, pictures(images), min(columns, len(images)))


def write_pictures(output: Path, drawing: Drawing) -> None:
    """A folder with a PNG for each image, of as many bits as it is stored in."""
    from distvae.images import save_png

    check_room(output, SMALLEST_PNG * drawing.total, drawing.field.name)
    number, names = 0, [file_name(name) for name in drawing.label_names]
    with new_folder(output) as folder:
        for images, labels in drawing:
            for row, image in enumerate(images):
                name = "" if labels is None else f"{names[labels[row]]}-"
                save_png(folder / f"{name}{number:05d}.png", image)
                number += 1
