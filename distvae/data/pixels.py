"""One decoded image of any mode and size becomes pixels [C, H, W] of 8 or 16 bits."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from distvae.config import DataConfig
from distvae.data import deep
from distvae.data.levels import DIM, Levels, real_levels, whole_levels
from distvae.data.scaling import scaled
from distvae.data.seen import BYTE_MODES, NOTHING, Seen, count_channels
from distvae.data.views import CROP
from distvae.domains.levels import LEVELS, MOST_LEVELS
from distvae.errors import DistvaeError

if TYPE_CHECKING:
    from PIL.Image import Image

Decode = Callable[[Any, int | None], "Image"]
"""What is encoded, and the size to which it will be scaled, if it will be, become an image."""


@dataclass(frozen=True)
class Reading:
    """How images become pixels: as configured, and as those that were seen need it."""

    channels: int
    size: int | None
    """Of a square that is cut out of the middle of what is scaled to it; None: nothing is cut."""
    least: int | None
    """What the shorter side is made where it is less; None: it stays."""
    most: int | None
    """What the shorter side is made where it is more; None: it stays."""
    bytes: Levels
    words: Levels
    reals: Levels
    dim: bool
    """Whether all bytes are small, which is told and left as it is."""
    levels: int
    """In how many pixels are kept."""
    seen: Seen = field(compare=False)
    config: DataConfig = field(compare=False)

    @classmethod
    def of(cls, seen: Seen, config: DataConfig, levels: int | None = None) -> "Reading":
        """How to read these images and all others like them.

        Args:
            seen: what they hold.
            config: as it is asked for.
            levels: of what is made of them, where that is settled.

        Raises:
            ValueError: it cannot be told which of their values are black and white.
        """
        white = config.white
        if white is None and levels is not None and levels > LEVELS and seen.fits(levels):
            words = Levels(0, levels - 1)
        else:
            words = _levels(white, Levels(0, 65535), whole_levels, seen.words)
        reals = _levels(white, Levels(0, 1), real_levels, seen.reals)
        return cls(
            channels=config.channels or (3 if seen.colour else 1),
            size=None if CROP in config.augment else config.image_size,
            least=config.image_size if CROP in config.augment else None,
            most=config.shorter_side,
            bytes=Levels(0, 255 if white is None else white),
            words=words,
            reals=reals,
            dim=white is None and 0 <= seen.byte < DIM,
            levels=levels or _kept(seen, words, reals, config.bits),
            seen=seen,
            config=config,
        )

    @property
    def decoded(self) -> int | None:
        """The size to which an image will be scaled, if it will be."""
        return self.size or self.most

    def with_image(self, image: "Image") -> "Reading":
        """How to read all if this one is among them.

        Raises:
            ValueError: as above.
        """
        seen = self.seen | Seen.of(image, self.seen)
        return self if seen == self.seen else Reading.of(seen, self.config)

    def resized(self, image: "Image") -> "Image":
        """An image as large as it is wanted."""
        return scaled(image, self.size, self.least, self.most)

    def notes(self) -> Iterator[str]:
        """What is to be said of the images' values."""
        if self.dim:
            yield f"images are nearly black: no value is above {DIM - 1} of 255 (see --white)"
        found = (("16-bit", self.seen.words, self.words), ("float", self.seen.reals, self.reals))
        for kind, values, levels in found:
            if values is not None:
                yield (
                    f"of the {kind} values of images {levels.white:g} is white and "
                    f"{levels.black:g} black (--white chooses another){self._lost(levels)}"
                )

    def _lost(self, levels: Levels) -> str:
        """In how many levels values are kept, where that is not what everybody expects."""
        if self.levels > LEVELS:
            return f"; they are kept in {self.levels:,} levels"
        return "; they are kept in 256 levels, so their lower bits are lost" * (
            levels.white - levels.black >= LEVELS
        )


def _levels(
    white: float | None, usual: Levels, find: Callable[..., Levels], found: tuple[Any, ...] | None
) -> Levels:
    """The levels of one kind of numbers by what was found of them."""
    if found is None:
        return usual
    if white is None:
        return find(*found)
    return Levels(-white if found[0] < 0 else 0, white)


def _kept(seen: Seen, words: Levels, reals: Levels, bits: int | None) -> int:
    """In how many levels images are kept."""
    if bits == 8:
        return LEVELS
    found = [words.kept(True)] if seen.words else []
    found += [reals.kept(seen.reals[2])] if seen.reals else []
    most = max(found, default=LEVELS)
    return MOST_LEVELS if bits == 16 and most == LEVELS else most


class OtherwiseError(Exception):
    """An image that shows that all must be read otherwise than was thought.

    Args:
        reading: how they must be read.
    """

    def __init__(self, reading: Reading) -> None:
        super().__init__("images must be read otherwise")
        self.reading = reading


class Picture(NamedTuple):
    """Pixels [C, H, W], and what happened to them that their owner may not expect."""

    pixels: NDArray[Any]
    remarks: tuple[str, ...]


def to_pixels(image: "Image", reading: Reading) -> NDArray[Any]:
    """Pixels as uint8 or, of more than 256 levels, uint16 [channels, H, W].

    Transparency is composited on black. With a size the shorter side is scaled to it (antialiased)
    and the middle is cut out: H = W = size. Else it is scaled where it is too short or too long.
    """
    from PIL import Image

    numbers = image.mode == "F" or image.mode.startswith("I")
    if numbers:
        found = reading.reals if image.mode == "F" else reading.words
        values = found.to_levels(np.asarray(image), reading.levels)
        if deep.is_deep(reading.levels):
            return deep.fitted(values, reading.levels, reading.channels, reading.resized)
        image = Image.fromarray(values)
    elif deep.is_deep(reading.levels):
        bytes_of = dataclasses.replace(
            reading, levels=LEVELS, size=None, least=None, most=None, bytes=Levels(0, 255)
        )
        values = reading.bytes.to_levels(to_pixels(image, bytes_of), reading.levels)
        parts = values[0] if len(values) == 1 else np.moveaxis(values, 0, -1)
        return deep.fitted(parts, reading.levels, reading.channels, reading.resized)
    elif reading.bytes != (0, 255) and image.mode in BYTE_MODES:
        table = reading.bytes.to_levels(np.arange(256)).tolist()
        alpha = list(range(256)) * image.mode.endswith("A")
        image = image.point(table * BYTE_MODES[image.mode] + alpha)
    if image.has_transparency_data:
        black = Image.new("RGBA", image.size, (0, 0, 0, 255))
        image = Image.alpha_composite(black, image.convert("RGBA"))
    image = image.convert("L" if reading.channels == 1 else "RGB")
    image = reading.resized(image)
    pixels = np.asarray(image)
    return pixels[None] if reading.channels == 1 else pixels.transpose(2, 0, 1)


def first_reading(decode: Decode, images: Iterable[tuple[str, Any]], config: DataConfig) -> Reading:
    """How to read images, by some of them: where each is, and what ``decode`` takes.

    Raises:
        DistvaeError: one of them cannot be read.
    """
    reading = Reading.of(NOTHING, config)
    for where, encoded in images:
        with _naming_file(where):
            reading = reading.with_image(decode(encoded, reading.decoded))
    return reading


def read_picture(
    decode: Decode,
    encoded: Any,
    where: str,
    reading: Reading,
    settled: bool = False,
) -> Picture:
    """Decode one image into pixels [C, H, W].

    Args:
        decode: makes an image of what is ``encoded``, for a size if there is one.
        encoded: one image.
        where: what to call it in a message.
        reading: how it is read.
        settled: whether that cannot be changed any more, whatever the image is like.

    Raises:
        OtherwiseError: the image shows that all must be read otherwise, and nothing is settled.
        DistvaeError: it cannot be read.
    """
    with _naming_file(where):
        image = decode(encoded, reading.decoded)
        needed = reading if settled else reading.with_image(image)
        if needed != reading:
            raise OtherwiseError(needed)
        return Picture(to_pixels(image, reading), tuple(_remarks(image, reading)))


@contextmanager
def _naming_file(where: str) -> Iterator[None]:
    """Any failure as one of the image that is ``where``."""
    try:
        yield
    except (DistvaeError, OtherwiseError):
        raise
    except Exception as error:  # pillow's plugins raise whatever a broken file leads them to
        raise DistvaeError(
            f"cannot read {where}",
            f"{type(error).__name__}: {error}",
            "Repair or remove that image.",
        ) from error


def _remarks(image: "Image", reading: Reading) -> Iterator[str]:
    if image.info.get("frames", 1) > 1:
        yield "with several frames: the first is taken"
    if image.has_transparency_data and np.asarray(image.convert("RGBA"))[..., 3].min() < 255:
        yield "with transparent parts: they become black"
    if reading.channels == 3 and reading.config.channels is None and count_channels(image) == 1:
        yield "in grey: taken as coloured like the others"
    if min(image.size) < (reading.least or 0):
        yield f"smaller than a crop of {reading.least} pixels a side: enlarged"
    if image.mode == "CMYK":
        yield "in CMYK: turned to RGB without a colour profile"
    if image.info.get("reduced"):
        yield "in colour of 16 bits: 8 of them are read (an .npy or .npz keeps all)"


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
