"""What is done to noisy pictures without a model: total variation and non-local means.

They are those of scikit-image, where it is installed, with the parameters that serve best among
grids, on clean pictures of the training split to which the same noise is added.

Legend: N pictures, C channels, H height, W width.
"""

import importlib
import importlib.util
import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Pictures = NDArray[np.float32]
WEIGHTS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.65, 0.8, 1.0)
"""Of total variation."""
CUTS = (0.3, 0.45, 0.6, 0.8, 1.0, 1.2)
"""Of non-local means, in deviations of the noise."""
PATCHES = (3, 5, 7)
"""Pixels of a side of a patch of non-local means."""
REACH = 9
"""Pixels to each side in which patches are looked for."""
Parameters = Mapping[str, Any]


def available() -> bool:
    """Whether scikit-image is installed."""
    return importlib.util.find_spec("skimage") is not None


def tuned(clean: Pictures, noisy: Pictures, deviation: float) -> dict[str, Parameters]:
    """The parameters of each method by its name that give the least squared error on pictures.

    Args:
        clean: ``[N, C, H, W]`` in [0, 1].
        noisy: the same with noise.
        deviation: of the noise.
    """
    grids: dict[str, list[Parameters]] = {
        "total variation": [{"weight": weight} for weight in WEIGHTS],
        "non-local means": [
            {"h": cut * deviation, "patch_size": patch, "sigma": known, "fast_mode": fast}
            for cut, patch, known, fast in itertools.product(
                CUTS, PATCHES, (0.0, deviation), (False, True)
            )
        ],
    }

    def error(name: str, parameters: Parameters) -> float:
        return float(np.square(apply(name, noisy, parameters) - clean).mean())

    return {
        name: min(grid, key=lambda each, name=name: error(name, each))  # type: ignore[misc]
        for name, grid in grids.items()
    }


def apply(name: str, pictures: Pictures, parameters: Parameters) -> Pictures:
    """Pictures ``[N, C, H, W]`` without noise, cut to [0, 1]."""
    restoration: Any = importlib.import_module("skimage.restoration")

    grey = pictures.shape[1] == 1
    axis = None if grey else 0
    result = np.empty_like(pictures)
    for place, picture in enumerate(pictures):
        given = np.asarray(picture[0] if grey else picture, np.float64)
        if name == "total variation":
            done = restoration.denoise_tv_chambolle(given, **parameters, channel_axis=axis)
        else:
            done = restoration.denoise_nl_means(
                given, **parameters, patch_distance=REACH, channel_axis=axis
            )
        result[place] = np.clip(done, 0.0, 1.0)
    return result
