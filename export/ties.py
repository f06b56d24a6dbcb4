"""Errors of codes that are none: a number between two codes may fall to either by rounding.

Legend: B examples.
"""

import numpy as np
from numpy.typing import NDArray

from distvae.models import VAE

MOST = 0.02
"""Share of examples in which rounding may choose another code that fits as well."""


def but_for_ties(model: VAE, off: NDArray[np.float32], tolerance: float) -> NDArray[np.float32]:
    """Errors ``[B, ...]``, of codes without those few examples that have another code.

    Args:
        model: whose latents are codes, or real numbers, of which no error is left out.
        off: how far each number is from what was expected.
        tolerance: up to which it is rounding of the number itself.
    """
    apart = (off > tolerance).reshape(len(off), -1).any(1)
    of_codes = any(level.codes for level in model.latents.levels)
    if not of_codes or apart.mean() > MOST:
        return off
    return np.where(apart.reshape(-1, *[1] * (off.ndim - 1)), np.float32(0.0), off)
