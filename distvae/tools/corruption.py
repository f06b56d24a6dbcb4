"""Noise on pictures and masks over them: what was done, drawn and undone.

Legend: N pictures, B examples, P pixels, L levels, C channels, H height, W width.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distvae.errors import DistvaeError, nearest

KINDS = ("gaussian", "salt-pepper")
MASKS = ("left", "right", "top", "bottom", "box", "scattered")
"""Words for what is hidden."""
LEAST = 0.02
"""Deviation that a pixel is believed to have at least, in ranges."""


@dataclass(frozen=True)
class Noise:
    """What was done to pixels in [0, 1]."""

    kind: str
    amount: float
    """Standard deviation of ``gaussian``, share of pixels of ``salt-pepper``."""
    clipped: bool = False
    """Whether pixels were cut to [0, 1] after it."""

    def __str__(self) -> str:
        return f"{self.kind}:{self.amount:g}"

    def draw(
        self, pictures: NDArray[np.float32], generator: np.random.Generator
    ) -> NDArray[np.float32]:
        """Pictures in [0, 1] with this noise."""
        if self.kind == "gaussian":
            noise = generator.standard_normal(pictures.shape, np.float32)
            noisy = pictures + np.float32(self.amount) * noise
            return np.clip(noisy, 0.0, 1.0) if self.clipped else noisy
        hit = generator.random(pictures.shape, np.float32)
        salt = np.where(hit < self.amount / 2, np.float32(0.0), np.float32(1.0))
        return np.where(hit < self.amount, salt, pictures)

    def channel(self, seen: Tensor, levels: Tensor) -> Tensor:
        """Log p(y | x) of pixels ``[B, P]`` and levels ``[L]``: ``[B, P, L]``, up to a constant."""
        y, x = seen[..., None], levels
        spacing = 1.0 / (len(levels) - 1)
        deviation = max(LEAST, self.amount) if self.kind == "gaussian" else max(LEAST, spacing / 2)
        log = -0.5 * ((y - x) / deviation).square() - math.log(deviation * math.sqrt(2 * math.pi))
        if self.kind == "gaussian":
            if self.clipped and self.amount > LEAST:
                log = torch.where(y <= 0.0, torch.special.log_ndtr(-x / deviation), log)
                log = torch.where(y >= 1.0, torch.special.log_ndtr((x - 1.0) / deviation), log)
            return log
        share = self.amount
        extreme = ((y <= 0.0) | (y >= 1.0)).to(log.dtype)
        spoilt = 0.5 * share / spacing * extreme
        return ((1.0 - share) * log.exp() + spoilt).clamp(min=1e-30).log()


def noise_of(text: str) -> Noise:
    """``gaussian:0.3`` or ``salt-pepper:0.2``.

    Raises:
        DistvaeError: it is no such thing.
    """
    kind, _, amount = text.partition(":")
    expected = "expected gaussian:S, its deviation, or salt-pepper:P, a share of pixels"
    if kind not in KINDS:
        raise DistvaeError(f"--noise {text} is not known", expected, nearest(kind, KINDS))
    try:
        value = float(amount)
    except ValueError:
        value = math.nan
    top = 1.0 if kind == "salt-pepper" else 10.0
    if not 0.0 < value <= top:
        raise DistvaeError(
            f"--noise {text} has no amount above 0 and up to {top:g}",
            expected + " (pixels reach from 0 to 1)",
            f"For example --noise {kind}:0.3",
        )
    return Noise(kind, value)


def estimated_deviation(pictures: NDArray[np.floating]) -> float:
    """The deviation of Gaussian noise on pictures ``[N, C, H, W]``.

    Donoho and Johnstone 1994: the median size of the finest diagonal wavelet coefficients (Haar),
    over that of a standard normal; the median over pictures and channels. Clean pictures with flat
    places give 0.
    """
    height, width = (side - side % 2 for side in pictures.shape[2:])
    if not height or not width:
        return 0.0
    even = np.asarray(pictures[:, :, :height, :width], np.float64)
    diagonal = 0.5 * (
        even[..., ::2, ::2] - even[..., ::2, 1::2] - even[..., 1::2, ::2] + even[..., 1::2, 1::2]
    )
    sizes = np.abs(diagonal).reshape(len(even), even.shape[1], -1)
    return float(np.median(np.median(sizes, 2)) / 0.6744897501960817)


def mask_of(text: str, shape: tuple[int, int, int], resize: bool) -> NDArray[np.bool_]:
    """Which pixels are hidden, ``[H, W]``.

    Args:
        text: a word of ``MASKS``, or a picture whose bright pixels are hidden.
        shape: C, H, W of the run's pictures.
        resize: whether a picture of another size is scaled to theirs.

    Raises:
        DistvaeError: there is no such picture, it has another size, or it hides nothing or all.
    """
    _, height, width = shape
    if text in MASKS:
        return _worded(text, height, width)
    if not Path(text).is_file():
        raise DistvaeError(
            f"--mask {text}: there is no such picture",
            f"expected a picture whose bright pixels are hidden, or {', '.join(MASKS)}",
            nearest(text, MASKS),
        )
    found = _pictured(text, (width, height), resize)
    if found.all() or not found.any():
        what = "all" if found.all() else "no"
        raise DistvaeError(
            f"--mask {text} hides {what} pixels", "expected bright pixels where nothing is seen"
        )
    return found


def _pictured(text: str, size: tuple[int, int], resize: bool) -> NDArray[np.bool_]:
    from PIL import Image

    try:
        with Image.open(text) as opened:
            picture = opened.convert("L")
    except (OSError, ValueError) as error:
        raise DistvaeError(
            f"--mask {text} cannot be read as a picture", str(error), "Take a PNG."
        ) from None
    if picture.size != size:
        theirs, ours = (f"{width} x {height}" for width, height in (picture.size, size))
        if not resize:
            raise DistvaeError(
                f"--mask {text} is {theirs}",
                f"pictures of this run are {ours}",
                "Take a mask of that size, or --resize-mask.",
            )
        picture = picture.resize(size, Image.Resampling.BOX)
    return np.asarray(picture) >= 128


def _worded(word: str, height: int, width: int) -> NDArray[np.bool_]:
    mask = np.zeros((height, width), np.bool_)
    if word == "left":
        mask[:, : width // 2] = True
    elif word == "right":
        mask[:, width - width // 2 :] = True
    elif word == "top":
        mask[: height // 2] = True
    elif word == "bottom":
        mask[height - height // 2 :] = True
    elif word == "box":
        mask[height // 4 : height - height // 4, width // 4 : width - width // 4] = True
    else:
        order = np.random.default_rng(0).permutation(height * width)
        mask.flat[order[: height * width // 2]] = True
    return mask
