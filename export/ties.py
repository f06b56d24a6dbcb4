"""Errors of codes that are none: a number between two codes may fall to either by rounding.

Legend: B examples, T codes of an example, D numbers of a code, S the axes of their values.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from distvae.latents.codes import CodeSpace
from distvae.models import VAE

TIES = 0.005
"""Share of codes that rounding may choose otherwise, at most."""
MOST = 0.5
"""Share of examples that may have such a code, at most."""


class Ties(NamedTuple):
    """How many ties there may be of latents that are codes."""

    length: int
    """T."""
    as_map: bool
    """Whether values of codes are ``[B, D, H, W]``, of T = H * W; else they are ``[B, T * D]``."""

    def but_for_values(self, off: NDArray[np.float32], tolerance: float) -> NDArray[np.float32]:
        """Errors ``[B, *S]`` of values of codes, without those few that are of another code."""
        parts = (len(off), -1, self.length) if self.as_map else (len(off), self.length, -1)
        each = off.reshape(parts)
        axis = 1 if self.as_map else 2
        apart = (each > tolerance).any(axis, keepdims=True)
        if apart.mean() > TIES:
            return off
        return np.where(apart, np.float32(0.0), each).reshape(off.shape)

    def but_for_examples(self, off: NDArray[np.float32], tolerance: float) -> NDArray[np.float32]:
        """Errors ``[B]`` of examples, without those that have another code: more of long ones."""
        apart = off > tolerance
        if apart.mean() > min(MOST, 1.0 - (1.0 - TIES) ** self.length):
            return off
        return np.where(apart, np.float32(0.0), off)


def ties_of(model: VAE) -> Ties | None:
    """None of a model whose latents are real numbers, of which no error is left out."""
    space = model.latents
    return Ties(space.length, space.as_map) if isinstance(space, CodeSpace) else None
