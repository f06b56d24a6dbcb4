"""Images of 8 or 16 bits.

Legend: B batch, N images, C channels, H height, W width.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from distvae.domains.base import EACH, View, refuse_other_types
from distvae.domains.levelled import ROUNDING, Levelled
from distvae.domains.levels import (
    LEVELS,
    MOST_LEVELS,
    bytes_of,
)
from distvae.domains.picture_files import write_pictures, write_sheet
from distvae.drawings import Drawing, write_array, write_arrays
from distvae.errors import DistvaeError
from distvae.fields import Field
from distvae.parts import DomainPart
from distvae.values import Within

if TYPE_CHECKING:
    from torch import Tensor

IMAGES = "images"
"""What is stored of an image."""
LOOKED_AT, CHUNK = 10_000, 512
"""Images whose values are summed up at most, and at once."""
Side = Annotated[int, Within(1, 2**16)]


class ImagesPart(DomainPart):
    """Images of 8 or 16 bits."""

    name = "images"
    builds = "Images"
    traits = ("levels", "grid", "sides", "pictures")
    usual = True
    examples = "images"
    material = "pictures"
    axes = 3
    likelihood_of_one = "bernoulli"


@dataclass(frozen=True)
class Images(Levelled):
    """Images of one size, and what a model sees of them: float32 in [0, 1]."""

    shape: tuple[Annotated[int, Within(1, 1024)], Side, Side]
    """``(C, H, W)``."""
    binarize: Literal["none", "dynamic", "threshold"] = "none"
    """``none`` shows levels as they are; ``threshold`` white from half up; ``dynamic`` draws each
    pixel white with probability level / white, anew for each step."""
    levels: Annotated[int, Within(2, MOST_LEVELS)] = LEVELS
    """Levels of a pixel, from black, 0, to white, the last one."""

    part = ImagesPart
    field_name, tensor = IMAGES, "image"
    channels_last = True
    writers: ClassVar = {
        ".png": "a sheet of images",
        ".npz": "arrays",
        ".npy": "an array of any size",
        "": "a folder of images",
    }

    @classmethod
    def of(
        cls, columns: Sequence[str], stored: NDArray[Any], binarize: Any = "none", **facts: Any
    ) -> "Images":
        """The domain of images ``[N, C, H, W]``; its facts are their levels."""
        channels, height, width = stored.shape[1:]
        return cls((channels, height, width), binarize, **facts)

    @property
    def white(self) -> int:
        """The last level."""
        return self.levels - 1

    @property
    def told(self) -> str:
        """``images CxHxW``, and their levels where these are not 256."""
        levels = "" if self.levels == LEVELS else f" of {self.levels:,} levels"
        return f"images {'x'.join(map(str, self.shape))}{levels}"

    def settings(self) -> dict[str, Any]:
        """Side, channels and binarization."""
        channels, height, width = self.shape
        return {
            "image_size": height if height == width else None,
            "channels": channels if channels in (1, 3) else None,
            "binarize": self.binarize,
        }

    def pictures(self, stored: NDArray[Any]) -> NDArray[np.uint8]:
        """The same images of 8 bits, for screens."""
        return bytes_of(stored, self.levels)

    @property
    def uniforms_shape(self) -> tuple[int, int, int] | None:
        """``(C, H, W)`` for ``dynamic``, else None."""
        return self.shape if self.binarize == "dynamic" else None

    def to_input(self, stored: "Tensor", uniforms: "Tensor | None") -> "Tensor":
        """Levels ``[B, C, H, W]`` as the model's input.

        For ``dynamic`` 16 bits decide about a pixel, so a probability is met to 1.6e-5, and those
        of black and white exactly.
        """
        if self.binarize == "none":
            return self.to_values(stored)
        if self.binarize == "threshold":
            return self.to_values(stored).ge(0.5).float()
        assert uniforms is not None
        thresholds = stored.mul(65536.0 / self.white).sub_(32768.0)
        return thresholds.gt_(uniforms)  # 1 where a uniform is below

    def to_expected_input(self, stored: "Tensor") -> "Tensor":
        """The mean of the input ``[B, C, H, W]``: where it is drawn, the level itself."""
        return self.to_values(stored) if self.uniforms_shape else self.to_input(stored, None)

    def checked_input(self, inputs: "Tensor") -> "Tensor":
        """Images ``[B, C, H, W]``, floating point in [0, 1], as they are."""
        way = f"Divide grey levels by {self.white}: images / {self.white}"
        refuse_other_types(inputs, "images", way)
        if inputs.dim() != 4 or tuple(inputs.shape[1:]) != self.shape:
            missing = tuple(inputs.shape) == self.shape
            raise DistvaeError(
                f"images have shape {list(inputs.shape)}",
                f"expected [B, {', '.join(map(str, self.shape))}] for this model",
                "Give one image as a batch of one: images.unsqueeze(0)" if missing else "",
            )
        self.refuse_out_of_range(inputs)
        return inputs

    def way_into_range(self, low: float, high: float) -> str:
        """For images of levels, and of values from -1."""
        if low >= 0.0 and high > 1.5:
            return f"Divide by the largest: images / {255 if high <= 255 else 65535}"
        if low >= -1.0 - ROUNDING and high <= 1.0 + ROUNDING:
            return "From [-1, 1] take (images + 1) / 2"
        return ""

    def place(self, index: Sequence[int]) -> str:
        """``pixel (c, y, x)``."""
        return f"pixel {(*map(int, index),)}"

    @property
    def title(self) -> tuple[str, str]:
        """Channels, height and width."""
        return "image (C, H, W)", " x ".join(map(str, self.shape))

    def summary(self, stored: NDArray[Any]) -> list[tuple[str, str]]:
        """The lowest, highest and mean level, of many images of some."""
        count = min(len(stored), LOOKED_AT)
        places = np.linspace(0, len(stored) - 1, count).astype(np.int64)
        lowest, highest, total = self.white, 0, 0
        for start in range(0, count, CHUNK):
            images = stored[places[start : start + CHUNK]]
            lowest, highest = min(lowest, int(images.min())), max(highest, int(images.max()))
            total += int(images.sum(dtype=np.int64))
        mean = total / (count * math.prod(self.shape))
        of = "" if count == len(stored) else f" (of {count:,} images)"
        told = f"{lowest} to {highest}, mean {mean:.1f}{of}"
        return [(f"values, 0 black to {self.white} white", told)]

    def line(self, sample: str) -> str:
        """Images in [0, 1], as the model draws them."""
        return f"images = {sample}  # [16, {', '.join(map(str, self.shape))}] in [0, 1]"

    def writer(self, ending: str) -> Callable[[Path, Drawing], None]:
        """A sheet with a label in a row, arrays, or a PNG for each image."""
        if ending == ".png":
            return partial(write_sheet, pictures=self.pictures)
        return {".npz": write_arrays, ".npy": write_array, "": write_pictures}[ending]

    def show(self, view: View, folder: Path, epoch: int) -> None:
        """``epoch-NNNN.png``, a row of samples for each label, and ``reconstructions-NNNN.png``.

        The latter are pairs, the original above, of the first images of the split.
        """
        from distvae.images import paired, save_grid

        drawn = view.samples()
        rows = [
            ", ".join(row) for row in zip(*(words[::EACH] for words in drawn.words), strict=True)
        ]
        caption = f"epoch {epoch}: generated by the same noise in every epoch"
        pictures = self.pictures(drawn.stored)
        save_grid(folder / f"epoch-{epoch:04d}.png", pictures, EACH, rows, caption)
        originals, decoded = view.reconstructed(5 * EACH)
        if len(originals):
            columns = min(EACH, len(originals))
            sheet = paired(self.pictures(originals), self.pictures(decoded), columns)
            names = ["original", "reconstruction"] * -(-len(originals) // columns)
            caption = f"epoch {epoch}: test images and the decoder's mean for each"
            path = folder / f"reconstructions-{epoch:04d}.png"
            save_grid(path, sheet, columns, names, caption)


def images_field(shape: tuple[int, int, int], levels: int = LEVELS) -> Field:
    """What is stored of images ``(C, H, W)``."""
    return Images(shape, levels=levels).field
