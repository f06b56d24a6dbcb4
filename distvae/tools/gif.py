"""Pictures that move.

Legend: F frames, C channels, H height, W width.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from distvae.files import replacing_file

MILLISECONDS = 80
LEAST = 256
"""Pixels of the longer side of a frame, which a smaller one is enlarged to by a whole factor."""


def save_gif(path: Path, frames: Sequence[NDArray[np.uint8]], there_and_back: bool = True) -> None:
    """Write frames ``[C, H, W]`` as a GIF that goes on for ever.

    Args:
        path: of the file.
        frames: F of them, at least one.
        there_and_back: whether they are shown backwards after the last one.
    """
    factor = -(-LEAST // max(frames[0].shape[1:]))
    shown = [_picture(frame.repeat(factor, axis=1).repeat(factor, axis=2)) for frame in frames]
    if there_and_back:
        shown += shown[-2:0:-1]
    first, *rest = shown
    with replacing_file(path) as temporary:
        first.save(
            temporary, "GIF", save_all=True, append_images=rest, duration=MILLISECONDS, loop=0
        )


def _picture(frame: NDArray[np.uint8]) -> Image.Image:
    if len(frame) == 1:
        return Image.fromarray(frame[0])
    picture = Image.fromarray(np.ascontiguousarray(frame.transpose(1, 2, 0)))
    return picture.quantize(256, Image.Quantize.MEDIANCUT, dither=Image.Dither.FLOYDSTEINBERG)
