"""Values of Python as examples and labels: of NumPy, torch, PIL and pandas, and lists of them.

Legend: N examples, H height, W width, C channels.
"""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distvae.data.deep import as_picture
from distvae.data.identity import combined, digest_of
from distvae.data.sources.attributes import objects
from distvae.errors import DistvaeError, shown

EXPECTED = (
    "expected images (an array, a tensor or a list of PIL images), (images, labels), a torch "
    "Dataset, a datasets.Dataset, or a dictionary of these by split"
)


class Pictures:
    """Pictures ``[N]`` of any sizes, as values of an array."""

    dtype = np.dtype(object)

    def __init__(self, images: Sequence[Any]) -> None:
        self._images = images
        self.shape = (len(images),)

    def __getitem__(self, rows: Any) -> Any:
        """Pictures of PIL at these places."""
        return [self._images[row] for row in np.arange(len(self._images))[rows]]


def is_array(data: Any) -> bool:
    """Whether this holds examples itself: an array, a tensor, or a list of them."""
    return isinstance(data, np.ndarray | list) or hasattr(data, "detach")


def numbers_of(values: Any) -> NDArray[Any]:
    """An array of an array, a tensor or a list; of pandas too."""
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        half = values.is_floating_point() and values.dtype.itemsize < 4
        values = (values.float() if half else values).numpy()  # which knows no bfloat16
    return np.asarray(values)


def labels_of(values: Any) -> NDArray[Any]:
    """Labels ``[N]`` or one-hot; words and gaps as objects.

    Raises:
        DistvaeError: they are no list of any kind.
    """
    if isinstance(values, list | tuple):
        plain = [each.item() if getattr(each, "shape", None) == () else each for each in values]
        if any(each is None or isinstance(each, str) for each in plain):
            return objects(plain)
        return np.stack([numbers_of(each) for each in plain]) if plain else np.zeros(0)
    found = numbers_of(values)
    if found.ndim == 0:
        raise DistvaeError(
            f"labels are {shown(values)}",
            "expected a list, an array, a tensor or a pandas series: one label for each image",
        )
    return objects(found.tolist()) if found.dtype.kind in "OUS" else found


def images_of(images: Any) -> Any:
    """Images as an array ``[N, ...]``, or as pictures where they are of PIL or of several sizes.

    Raises:
        DistvaeError: there are none, or they have several sizes and are no 8 bit pictures.
    """
    if not isinstance(images, list | tuple):
        found = numbers_of(images)
        if found.dtype.kind != "O":
            return found
        images = list(found)
    if not images:
        raise DistvaeError("data holds no images", EXPECTED)
    if all(hasattr(each, "getbands") for each in images):
        return Pictures(images)
    arrays = [numbers_of(each) for each in images]
    if len({array.shape for array in arrays}) == 1:
        return np.stack(arrays)
    if all(array.dtype == np.uint8 and array.ndim in (2, 3) for array in arrays):
        return Pictures([as_picture(_channels_last(array)) for array in arrays])
    raise DistvaeError(
        f"images have several sizes, such as {shown(sorted({a.shape for a in arrays})[:3])}",
        "those that are resized are uint8, H x W or H x W x C",
        "Bring all to one size, or give them as PIL images with image_size=.",
    )


def _channels_last(array: NDArray[Any]) -> NDArray[Any]:
    return array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array


def upright(image: Any, _: int | None = None) -> Any:
    """A picture of PIL, turned as its camera was held."""
    from PIL import ImageOps

    return ImageOps.exif_transpose(image)


def digest(values: Any) -> str:
    """Of an array or pictures."""
    if not isinstance(values, Pictures):
        return (
            digest_of(values)
            if values.dtype.kind in "biufc"
            else combined(list(map(repr, values.tolist())))
        )
    found = hashlib.sha256()
    for image in values[:]:
        orientation = image.getexif().get(274)
        palette = image.getpalette() if image.mode == "P" else None
        found.update(f"{image.mode} {image.size} {orientation} {palette}\n".encode())
        found.update(image.tobytes())
    return found.hexdigest()
