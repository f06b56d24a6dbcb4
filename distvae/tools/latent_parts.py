"""The parts in which latents at every place are written, and what is gathered from them.

Legend: N images or volumes, Z channels, S the sides of the latents.
"""

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distvae.draws.normals import standard_normal
from distvae.errors import DistvaeError
from distvae.tools.examples import Examples
from distvae.tools.latent_maps import NAME
from distvae.tools.moments import Moments
from distvae.tools.outputs import write_csv

LARGEST_HALF = float(np.finfo(np.float16).max)
Arrays = dict[str, NDArray[Any]]


def narrowed(values: NDArray[np.float32], precision: str) -> NDArray[Any]:
    """Numbers as they are stored.

    Raises:
        DistvaeError: one is too large for half floats.
    """
    if precision == "fp32":
        return values
    most = float(np.abs(values).max())
    if not most <= LARGEST_HALF:
        raise DistvaeError(
            f"a number of the latents is as large as {most:.3g}",
            f"--precision fp16 holds numbers up to {LARGEST_HALF:g}",
            "Take --precision fp32.",
        )
    return values.astype(np.float16)


def noise(seed: int, rows: NDArray[np.int64], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Of each image by its number."""
    size = math.prod(shape[1:])
    each = [standard_normal(seed, int(row), 1, size) for row in rows]
    return np.concatenate(each).reshape(shape)


def joined(parts: list[Arrays]) -> Arrays:
    """What is written of examples, one group after the other, their moments summed up."""
    whole = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    whole["moments"] = np.stack([part["moments"] for part in parts]).sum(0)
    return whole


def gathered(paths: list[Path]) -> tuple[NDArray[np.int64], Moments]:
    """Rows and moments of all parts, read from them; the latents stay where they are."""
    from safetensors import safe_open

    rows, moments, shapes = [], [], set[tuple[int, ...]]()
    for path in paths:
        with safe_open(str(path), framework="np") as file:
            rows.append(file.get_tensor("rows"))
            moments.append(file.get_tensor("moments"))
            shapes.add(tuple(file.get_slice(NAME).get_shape()[1:]))
    shape = shapes.pop() if len(shapes) == 1 else ()
    return np.concatenate(rows), Moments(np.sum(moments, 0), shape)


def write_index(path: Path, examples: Examples, rows: NDArray[np.int64]) -> None:
    """What each row of the parts is, in their order."""
    splits, labels = examples.splits, examples.label_names
    names = [*labels, ""]
    header = ["row", "id", "split", *(["label"] if labels else [])]
    each = zip(rows, examples.names(rows), strict=True)
    write_csv(
        path,
        header,
        (
            [row, name, splits[row], *([names[examples.labels[row]]] if labels else [])]
            for row, name in each
        ),
    )
