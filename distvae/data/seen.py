"""What images hold: kinds of numbers, and the lowest and highest of each."""

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from distvae.data import deep
from distvae.data.levels import DIM

if TYPE_CHECKING:
    from PIL.Image import Image

GREY_MODES = frozenset({"1", "L", "LA", "La", "F"})
BYTE_MODES = {"L": 1, "LA": 1, "RGB": 3, "RGBA": 3}
"""Modes of which the values are levels of 8 bits, and how many of their bands are."""


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

    def fits(self, levels: int) -> bool:
        """Whether whole numbers may be levels already."""
        return self.words is None or (self.words[0] >= 0 and self.words[1] < levels)

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


def count_channels(image: "Image") -> int:
    """1 for a grey image, 3 for any other; a palette of greys is grey."""
    if image.mode == "P" and image.palette is not None and image.palette.mode == "RGB":
        used = np.unique(np.asarray(image))
        palette = np.array(image.getpalette("RGB")).reshape(-1, 3)
        colours = palette[used[used < len(palette)]]
        return 1 if (colours == colours[:, :1]).all() else 3
    grey = image.mode in GREY_MODES or (image.mode.startswith("I") and image.mode != deep.MODE)
    return 1 if grey else 3


def _highest_byte(image: "Image") -> int:
    """The highest level of the bands that are no transparency; 255 of what is no plain level."""
    if image.mode not in BYTE_MODES or "transparency" in image.info:
        return 255
    found: Any = image.getextrema()
    bands = [found] if image.mode == "L" else list(found)[: BYTE_MODES[image.mode]]
    return int(max(highest for _, highest in bands))
