"""How much noise is on pictures that are noisy already."""

import numpy as np
import torch
from numpy.typing import NDArray

from distvae.errors import DistvaeError
from distvae.tools.corruption import Noise, estimated_deviation
from distvae.tools.examples import Examples
from distvae.tools.repaired import Asked, repaired
from distvae.tools.trained import Trained

CLEAN = 0.01
"""Estimated deviation below which pictures are not called noisy."""
LOOKED_AT = 500
CUT = 0.05
"""Share of pixels at 0 or 1 above which noise was cut off there, which wavelets do not see."""
FACTORS = (1.0, 1.2, 1.4, 1.7, 2.0, 2.4)
COMPARED, DRAWS = 8, 8
"""Pictures whose evidence is compared, and draws for it."""


def noise_level(
    trained: Trained, examples: Examples, rows: NDArray[np.int64], unknown: bool, seed: int
) -> float:
    """The deviation of Gaussian noise on pictures, of a range of 1.

    It is that of their finest wavelets. Where many pixels were cut to 0 or 1, that is too little:
    of some factors of it the one is taken under which the model finds the pictures likeliest.

    Args:
        trained: the model.
        examples: the pictures.
        rows: those of interest.
        unknown: whether labels are not told to the model.
        seed: of the draws.

    Raises:
        DistvaeError: the pictures look clean.
    """
    stored = torch.from_numpy(examples.at(rows[:LOOKED_AT]).stored)
    pictures = examples.domain.to_expected_input(stored).numpy()
    level = estimated_deviation(pictures)
    if level < CLEAN:
        raise DistvaeError(
            f"{examples.name} looks clean: noise of deviation {level:.3f} is estimated",
            "expected noisy pictures, a mask, or noise to add",
            "For example --noise gaussian:0.3, --mask left or --noise-level 0.1",
        )
    if float(((pictures <= 0.0) | (pictures >= 1.0)).mean()) < CUT:
        return level

    def evidence(factor: float) -> float:
        noise = Noise("gaussian", factor * level, clipped=True)
        asked = Asked(noise, False, None, unknown, DRAWS, seed)
        found = repaired(trained, examples, rows[:COMPARED], asked)
        return sum(float(part.log_evidence.sum()) for _, part in found if part is not None)

    return level * max(FACTORS, key=evidence)
