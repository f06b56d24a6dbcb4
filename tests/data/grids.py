"""Small grids of known factors, written like dSprites' file."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

SIZES = (1, 3, 2, 4, 3, 3)
SIDE = 8


class Trap:
    """A metadata whose unpickling leaves a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def grid_arrays() -> dict[str, NDArray[Any]]:
    """216 pictures, each with a pattern of its own, and their factors as dSprites tells them."""
    classes = np.array(list(itertools.product(*map(range, SIZES))))
    numbers = np.arange(len(classes))
    imgs = (numbers[:, None] >> np.arange(SIDE * SIDE) % 8 & 1).reshape(-1, SIDE, SIDE)
    offsets = np.array([1.0, 1.0, 0.5, 0.0, 0.0, 0.0])
    steps = np.array([1.0, 1.0, 0.25, 0.5, 0.25, 0.125])
    return {
        "imgs": imgs.astype(np.uint8),
        "latents_classes": classes,
        "latents_values": offsets + steps * classes,
    }


def write_grid(path: Path, trap: Path | None = None, **changed: NDArray[Any] | None) -> Path:
    """An npz of :func:`grid_arrays`, with some arrays changed or, as None, left out."""
    arrays = {name: array for name, array in (grid_arrays() | changed).items() if array is not None}
    metadata = np.array(Trap(trap or path.with_name("trap")), dtype=object)
    np.savez_compressed(path, allow_pickle=True, metadata=metadata, **arrays)
    return path
