"""How alike two sets of pictures are, picture by picture.

Legend: N pictures, C channels, H height, W width.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

WINDOW, SIGMA = 11, 1.5
"""Pixels of a side of the window of SSIM, and the deviation of its Gaussian weights."""
STABLE = (0.01, 0.03)
"""K1 and K2."""
BLOCK = 256
Levels = NDArray[Any]


def psnr(first: Levels, second: Levels, white: float = 255.0) -> NDArray[np.float64]:
    """Peak signal-to-noise ratio in dB ``[N]``; infinite where both are equal.

    Args:
        first: ``[N, C, H, W]``, 0 to ``white``.
        second: the same.
        white: the largest value.
    """
    difference = first.astype(np.float64) - second
    squared = np.square(difference).reshape(len(first), -1).mean(1)
    with np.errstate(divide="ignore"):
        result: NDArray[np.float64] = 10.0 * np.log10(white**2 / squared)
    return result


def ssim(first: Levels, second: Levels, white: float = 255.0) -> NDArray[np.float64]:
    """Structural similarity ``[N]``, 1 where both are equal.

    Wang, Bovik, Sheikh and Simoncelli 2004, eq. 13: a Gaussian window of 11 x 11 pixels, wholly
    inside the picture, population moments; the mean over places and channels. Of a picture with a
    side below 11 every pixel counts, and the picture is mirrored at its edges.

    Args:
        first: ``[N, C, H, W]``, 0 to ``white``.
        second: the same.
        white: the largest value.
    """
    starts = range(0, len(first), BLOCK)
    parts = [
        _ssim(first[start : start + BLOCK], second[start : start + BLOCK], white)
        for start in starts
    ]
    return np.concatenate(parts) if parts else np.empty(0)


def _ssim(first: Levels, second: Levels, white: float) -> NDArray[np.float64]:
    a, b = first.astype(np.float64), second.astype(np.float64)
    mean_a, mean_b = _smooth(a), _smooth(b)
    var_a = _smooth(a * a) - mean_a * mean_a
    var_b = _smooth(b * b) - mean_b * mean_b
    covariance = _smooth(a * b) - mean_a * mean_b
    low, high = ((white * each) ** 2 for each in STABLE)
    above = (2.0 * mean_a * mean_b + low) * (2.0 * covariance + high)
    below = (mean_a * mean_a + mean_b * mean_b + low) * (var_a + var_b + high)
    places = above / below
    edge = WINDOW // 2 if min(first.shape[2:]) >= WINDOW else 0
    inside = places[:, :, edge : places.shape[2] - edge, edge : places.shape[3] - edge]
    result: NDArray[np.float64] = inside.mean((1, 2, 3))
    return result


def _smooth(values: NDArray[np.float64]) -> NDArray[np.float64]:
    from scipy.ndimage import gaussian_filter  # type: ignore[import-untyped, unused-ignore]

    radius = (0, 0, WINDOW // 2, WINDOW // 2)
    result: NDArray[np.float64] = gaussian_filter(values, (0, 0, SIGMA, SIGMA), radius=radius)
    return result
