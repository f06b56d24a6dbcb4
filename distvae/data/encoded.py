"""Encoded images: which files Pillow reads, and how one is decoded."""

import functools
import importlib.util
import re
import warnings
from io import BytesIO
from pathlib import Path
from typing import Any

from distvae.data.roots import Root, is_file

_PICTURES = frozenset(
    f".{name}"
    for name in (
        *("png", "apng", "jpg", "jpeg", "jpe", "jfif", "webp", "gif", "bmp", "tif", "tiff"),
        *("ppm", "pgm", "pbm", "pnm", "tga", "jp2", "j2k", "jpx"),
    )
)
HEIF = (".heic", ".heif", ".hif")
AVIF = (".avif", ".avifs")
OVERSAMPLED = 4
"""By how much the sides of a huge JPEG are decoded larger than they will be."""
_CONTAINERS = {
    **dict.fromkeys((b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1"), "HEIC"),
    **dict.fromkeys((b"avif", b"avis"), "AVIF"),
}
"""Kinds of images by the brand in the first bytes of a file."""


@functools.cache
def pictures() -> frozenset[str]:
    """The endings of files that can be read here, in lower case."""
    from PIL import Image, features

    # a photograph may have 100 million pixels; what has twice as many as Pillow warns of is refused
    warnings.simplefilter("ignore", Image.DecompressionBombWarning)

    found = set(_PICTURES)
    # Pillow before 11.3 does not know it, and warns
    if "avif" in features.modules and features.check("avif"):
        found |= set(AVIF)
    if importlib.util.find_spec("pillow_heif"):
        import pillow_heif  # type: ignore[import-not-found, unused-ignore]

        pillow_heif.register_heif_opener()
        found |= {*HEIF, *AVIF}
    return frozenset(found)


def encoded_image(value: Any, root: Root | None, where: str) -> dict[str, Any]:
    """A cell as the ``bytes`` and ``path`` of one image.

    Args:
        value: the cell: bytes, a path, or a dictionary of both.
        root: where files may lie; None takes paths as they are.
        where: how to call the row in a message.

    Raises:
        DistvaeError: a file lies outside the root.
    """
    if isinstance(value, str):
        value = {"path": value}
    elif not isinstance(value, dict):
        value = {"bytes": value}
    encoded, path = value.get("bytes"), value.get("path")
    if encoded is None and path is not None and root is not None:
        path = str(root.file(path, where))
    return {"bytes": encoded, "path": path}


def decode_image(encoded: dict[str, Any], size: int | None = None) -> Any:
    """The picture in what :func:`encoded_image` gave, turned as its camera was held.

    Args:
        encoded: one image.
        size: to which it will be scaled; a huge JPEG is decoded no larger than it needs to be.

    Raises:
        OSError: there is none, or one that is too large.
    """
    from PIL import Image, ImageOps

    pictures()
    encoded_bytes, path = encoded["bytes"], encoded["path"]
    if encoded_bytes is None and path and not is_file(path):  # an address on the Hub
        import datasets

        return datasets.Image().decode_example(encoded)
    if encoded_bytes is None and not path:
        raise OSError("the row has no image")
    with _open(path if encoded_bytes is None else BytesIO(encoded_bytes)) as image:
        if size is not None and image.width * image.height > (Image.MAX_IMAGE_PIXELS or 0):
            image.draft(image.mode, (OVERSAMPLED * size, OVERSAMPLED * size))
        reduced = image.mode in ("RGB", "RGBA", "LA") and any(
            ";16" in str(tile) for tile in image.tile
        )
        image.load()
        frames = getattr(image, "n_frames", 1)
        turned = ImageOps.exif_transpose(image)
    turned.info |= {"frames": frames, "reduced": reduced}
    return turned


def _open(file: str | BytesIO) -> Any:
    """The image in a file, which is not decoded yet.

    Raises:
        OSError: it is none, or one of a kind that needs a plugin which is not there.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        return Image.open(file)
    except Image.DecompressionBombError as error:
        size, limit = re.findall(r"\d+", str(error))[:2]
        raise OSError(
            f"it has {int(size) / 1e6:.0f} million pixels, and no image may have more than "
            f"{int(limit) / 1e6:.0f} million; shrink it"
        ) from None
    except UnidentifiedImageError:
        head = file.getvalue()[:12] if isinstance(file, BytesIO) else _head(file)
        if kind := _CONTAINERS.get(head[8:] if head[4:8] == b"ftyp" else b""):
            raise OSError(
                f"it is a {kind} image, whatever it is called; pip install pillow-heif reads it"
            ) from None
        raise


def _head(path: str) -> bytes:
    with Path(path).open("rb") as file:
        return file.read(12)
