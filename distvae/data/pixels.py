"""One decoded image of any mode and size becomes uint8 pixels [C, H, W]."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from distvae.errors import DistvaeError

if TYPE_CHECKING:
    from PIL.Image import Image

GREY_MODES = frozenset({"1", "L", "LA", "La"})


def count_channels(image: "Image") -> int:
    """1 for a grey image, 3 for any other."""
    return 1 if image.mode in GREY_MODES or image.mode.startswith("I") else 3


def to_pixels(image: "Image", channels: int, size: int | None) -> NDArray[np.uint8]:
    """Pixels as uint8 [channels, H, W].

    Transparency is composited on black and 16-bit grey loses its lower byte. With a size the
    shorter side is scaled to it (antialiased) and the middle is cut out: H = W = size.

    Raises:
        ValueError: the image has floating-point pixels, whose range is unknown.
    """
    from PIL import Image, ImageOps

    if image.mode == "F":
        raise ValueError("floating-point pixels are not supported, expected 8 or 16 bits")
    if image.mode.startswith("I"):
        words = np.asarray(image).astype(np.int64)
        image = Image.fromarray((words >> 8).clip(0, 255).astype(np.uint8))
    if image.has_transparency_data:
        black = Image.new("RGBA", image.size, (0, 0, 0, 255))
        image = Image.alpha_composite(black, image.convert("RGBA"))
    image = image.convert("L" if channels == 1 else "RGB")
    if size is not None:
        image = ImageOps.fit(image, (size, size), Image.Resampling.LANCZOS)
    pixels = np.asarray(image)
    return pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)


def read_pixels(
    decode: Callable[[Any], "Image"],
    encoded: Any,
    where: str,
    channels: int | None,
    size: int | None,
) -> NDArray[np.uint8]:
    """Decode one image into uint8 [C, H, W]; where channels are left out, it keeps its own.

    Raises:
        DistvaeError: it cannot be read; the message says ``where`` it is.
    """
    try:
        image = decode(encoded)
        return to_pixels(image, channels or count_channels(image), size)
    except Exception as error:  # pillow's plugins raise whatever a broken file leads them to
        raise DistvaeError(
            f"cannot read {where}",
            f"{type(error).__name__}: {error}",
            "Repair or remove that image.",
        ) from error


def check_size(where: str, shape: tuple[int, ...], first: str, expected: tuple[int, ...]) -> None:
    """Refuse an image [C, H, W] that is not as large as the first one.

    Raises:
        DistvaeError: it is not; the message names both.
    """
    if shape != expected:
        raise DistvaeError(
            f"{where} is {shape[2]} x {shape[1]} pixels",
            f"the first, {first}, is {expected[2]} x {expected[1]}",
            "Bring all to one size by --image-size.",
        )
