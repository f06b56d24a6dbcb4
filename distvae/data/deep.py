"""Images of more than 8 bits, which Pillow knows in grey alone.

Legend: H height, W width, C channels.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distvae.domains.levels import LEVELS

MODE = "I;16C"
LUMA = (0.299, 0.587, 0.114)
"""ITU-R 601-2, by which Pillow makes grey of colour too."""


@dataclass(frozen=True, eq=False)
class DeepColour:
    """An image of colour, of 16 bits: what is asked of one of Pillow when it is read."""

    values: NDArray[np.uint16]
    """``[H, W, C]``, C from 2 up; an even one has transparency last."""
    mode = MODE
    has_transparency_data = False
    info: dict[Any, Any] = field(default_factory=dict)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, in pixels."""
        height, width = self.values.shape[:2]
        return width, height

    @property
    def width(self) -> int:
        """In pixels."""
        return self.size[0]

    @property
    def height(self) -> int:
        """In pixels."""
        return self.size[1]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """``[H, W, C]``."""
        return np.array(self.values, dtype, copy=copy)


def as_picture(values: NDArray[Any], _: int | None = None) -> Any:
    """Pixels ``[H, W]`` or ``[H, W, C]`` as an image, whatever its size will be."""
    from PIL import Image

    if values.dtype == np.uint16 and values.ndim == 3:
        return DeepColour(values)
    return Image.fromarray(np.ascontiguousarray(values))


def fitted(
    values: NDArray[Any], levels: int, channels: int, resize: Callable[[Any], Any]
) -> NDArray[Any]:
    """Levels of an image as a model takes them, uint16 ``[channels, H, W]``.

    Transparency is composited on black.

    Args:
        values: ``[H, W]`` or ``[H, W, C]``.
        levels: how many there are.
        channels: 1 or 3.
        resize: makes an image of Pillow as large as it is wanted.
    """
    from PIL import Image

    bands = (values[..., None] if values.ndim == 2 else values).astype(np.float64)
    if bands.shape[-1] % 2 == 0:
        bands = bands[..., :-1] * (bands[..., -1:] / (levels - 1))
    if channels == 1 and bands.shape[-1] == 3:
        bands = (bands * LUMA).sum(-1, keepdims=True)
    parts = [
        np.asarray(resize(Image.fromarray(band.astype(np.float32))))
        for band in np.moveaxis(bands, -1, 0)
    ]
    result = np.rint(np.stack(parts).clip(0, levels - 1)).astype(np.uint16)
    return result if len(result) == channels else np.repeat(result, channels, 0)


def scaled(band: NDArray[Any], sides: tuple[int, int]) -> NDArray[Any]:
    """Numbers ``[H, W]`` scaled to width and height, antialiased; the middle is kept."""
    from PIL import Image, ImageOps

    picture = Image.fromarray(band.astype(np.float32))
    return np.asarray(ImageOps.fit(picture, sides, Image.Resampling.LANCZOS))


def is_deep(levels: int) -> bool:
    """Whether levels need more than 8 bits."""
    return levels > LEVELS
