"""A decoded image becomes larger or smaller."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image


def scaled(image: "Image", size: int | None, least: int | None, most: int | None) -> "Image":
    """An image of the size that is wanted, antialiased.

    Args:
        image: any.
        size: of a square, to which the shorter side is scaled, and the middle is cut out; None
            leaves the shape.
        least: what the shorter side is made where it is less; None leaves it.
        most: what the shorter side is made where it is more; None leaves it.
    """
    from PIL import Image, ImageOps

    if size is not None:
        return ImageOps.fit(image, (size, size), Image.Resampling.LANCZOS)
    shorter = min(image.size)
    wanted = max(min(shorter, most or shorter), least or 1)
    if wanted == shorter:
        return image
    width, height = (max(wanted, round(side * wanted / shorter)) for side in image.size)
    return image.resize((width, height), Image.Resampling.LANCZOS)
