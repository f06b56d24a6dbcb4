"""One decoded image of any mode and size becomes uint8 pixels [C, H, W]."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from distvae.config import DataConfig
from distvae.data.levels import DIM, Levels, real_levels, whole_levels
from distvae.data.scaling import scaled
from distvae.data.views import CROP
from distvae.errors import DistvaeError

if TYPE_CHECKING:
    from PIL.Image import Image

GREY_MODES = frozenset({"1", "L", "LA", "La", "F"})
BYTE_MODES = {"L": 1, "LA": 1, "RGB": 3, "RGBA": 3}
"""Modes of which the values are levels of 8 bits, and how many of their bands are."""


Decode = Callable[[Any, int | None], "Image"]
"""What is encoded, and the size to which it will be scaled, if it will be, become an image."""


class Seen(NamedTuple):
    """What images were seen to hold: of each kind of numbers, the lowest and the highest."""

    colour: bool = False
    byte: int = -1
    """The highest of 8 bits, of which 0 is always black."""
    words: tuple[int, int] | None = None
    reals: tuple[float, float, bool] | None = None
    """The third says whether all are whole."""

    @classmethod
    def of(cls, image: "Image", known: "Seen") -> "Seen":
        """What one image holds; bytes are not looked at where they are ``known`` to be bright."""
        byte, words, reals = known.byte, None, None
        if image.mode.startswith("I"):
            values = np.asarray(image)
            words = int(values.min()), int(values.max())
        elif image.mode == "F":
            values = np.asarray(image)
            whole = bool((values == np.rint(values)).all())
            reals = float(values.min()), float(values.max()), whole
        elif byte < DIM:
            byte = _highest_byte(image)
        return cls(count_channels(image) == 3, byte, words, reals)

    def __or__(self, other: "Seen") -> "Seen":
        """What both hold together."""
        pairs = [pair for pair in (self.words, other.words) if pair is not None]
        triples = [triple for triple in (self.reals, other.reals) if triple is not None]
        return Seen(
            self.colour or other.colour,
            max(self.byte, other.byte),
            (min(low for low, _ in pairs), max(high for _, high in pairs)) if pairs else None,
            (
                float(np.min([low for low, _, _ in triples])),  # NaN if one is
                float(np.max([high for _, high, _ in triples])),
                all(whole for _, _, whole in triples),
            )
            if triples
            else None,
        )


NOTHING = Seen()


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
    seen: Seen = field(compare=False)
    config: DataConfig = field(compare=False)

    @classmethod
    def of(cls, seen: Seen, config: DataConfig) -> "Reading":
        """How to read these images and all others like them.

        Raises:
            ValueError: it cannot be told which of their values are black and white.
        """
        return cls(
            channels=config.channels or (3 if seen.colour else 1),
            size=None if CROP in config.augment else config.image_size,
            least=config.image_size if CROP in config.augment else None,
            most=config.shorter_side,
            bytes=Levels(0, 255 if config.white is None else config.white),
            words=_levels(config.white, Levels(0, 65535), whole_levels, seen.words),
            reals=_levels(config.white, Levels(0, 1), real_levels, seen.reals),
            dim=config.white is None and 0 <= seen.byte < DIM,
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

    def notes(self) -> Iterator[str]:
        """What is to be said of the images' values."""
        if self.dim:
            yield f"images are nearly black: no value is above {DIM - 1} of 255 (see --white)"
        found = (("16-bit", self.seen.words, self.words), ("float", self.seen.reals, self.reals))
        for kind, values, levels in found:
            if values is not None:
                yield (
                    f"of the {kind} values of images {levels.white:g} is white and "
                    f"{levels.black:g} black (--white chooses another)"
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


class OtherwiseError(Exception):
    """An image that shows that all must be read otherwise than was thought.

    Args:
        reading: how they must be read.
    """

    def __init__(self, reading: Reading) -> None:
        super().__init__("images must be read otherwise")
        self.reading = reading


class Picture(NamedTuple):
    """Pixels uint8 [C, H, W], and what happened to them that their owner may not expect."""

    pixels: NDArray[np.uint8]
    remarks: tuple[str, ...]


def count_channels(image: "Image") -> int:
    """1 for a grey image, 3 for any other; a palette of greys is grey."""
    if image.mode == "P" and image.palette is not None and image.palette.mode == "RGB":
        used = np.unique(np.asarray(image))
        palette = np.array(image.getpalette("RGB")).reshape(-1, 3)
        colours = palette[used[used < len(palette)]]
        return 1 if (colours == colours[:, :1]).all() else 3
    return 1 if image.mode in GREY_MODES or image.mode.startswith("I") else 3


def to_pixels(image: "Image", reading: Reading) -> NDArray[np.uint8]:
    """Pixels as uint8 [channels, H, W].

    Transparency is composited on black. With a size the shorter side is scaled to it (antialiased)
    and the middle is cut out: H = W = size. Else it is scaled where it is too short or too long.
    """
    from PIL import Image

    if image.mode == "F" or image.mode.startswith("I"):
        deep = reading.reals if image.mode == "F" else reading.words
        image = Image.fromarray(deep.to_bytes(np.asarray(image)))
    elif reading.bytes != (0, 255) and image.mode in BYTE_MODES:
        table = reading.bytes.to_bytes(np.arange(256)).tolist()
        alpha = list(range(256)) * image.mode.endswith("A")
        image = image.point(table * BYTE_MODES[image.mode] + alpha)
    if image.has_transparency_data:
        black = Image.new("RGBA", image.size, (0, 0, 0, 255))
        image = Image.alpha_composite(black, image.convert("RGBA"))
    image = image.convert("L" if reading.channels == 1 else "RGB")
    image = scaled(image, reading.size, reading.least, reading.most)
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
    """Decode one image into uint8 [C, H, W].

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


def _highest_byte(image: "Image") -> int:
    """The highest level of the bands that are no transparency; 255 of what is no plain level."""
    if image.mode not in BYTE_MODES or "transparency" in image.info:
        return 255
    found: Any = image.getextrema()
    bands = [found] if image.mode == "L" else list(found)[: BYTE_MODES[image.mode]]
    return int(max(highest for _, highest in bands))


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
