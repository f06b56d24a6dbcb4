"""Latents at every place as files: safetensors in parts, and what a trainer needs of them.

Legend: N images or volumes, Z channels, S the sides of the latents.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distvae.arrays import read_arrays
from distvae.errors import DistvaeError
from distvae.headers import read_header
from distvae.reading import read_json

Floats = NDArray[np.float32]
NAME = "latents"
"""Of the array in a file."""
FACTS = "latents.json"
ENDINGS = (".npy", ".npz", ".safetensors")


def is_latents(path: Path) -> bool:
    """Whether a path is a file of latents, or a folder."""
    return path.suffix in ENDINGS or path.is_dir()


def files_of(path: Path) -> list[Path]:
    """The file itself, or the parts in a folder.

    Raises:
        DistvaeError: there are none.
    """
    files = _parts(path) if path.is_dir() else [path]
    if not all(file.is_file() for file in files) or not files:
        raise DistvaeError(
            f"{path} holds no latents" if path.is_dir() else f"there is no {path}",
            f"expected files that end in {', '.join(ENDINGS)}",
            "Write some: distvae latents --data PICTURES",
        )
    return files


def shape_of(path: Path, channels: int, axes: int = 2) -> tuple[int, ...]:
    """``[N, Z, *S]`` of the latents in a file; numbers are not read where a header tells.

    Raises:
        DistvaeError: they are of another shape or type, or the file is damaged.
    """
    if path.suffix != ".safetensors":
        return read_maps(path, channels, axes).shape
    found = read_header(path).tensors
    facts = found[_named(path, list(found))]
    kind = "float" if facts.dtype.startswith(("F", "BF")) else facts.dtype
    return _shape(facts.shape, kind, path, channels, axes)


def read_maps(path: Path, channels: int, axes: int = 2) -> Floats:
    """The latents in a file ``[N, Z, *S]``.

    Raises:
        DistvaeError: they are of another shape or type, or the file is missing or damaged.
    """
    values = _array(path)
    kind = "float" if values.dtype.kind == "f" else str(values.dtype)
    values = values.reshape(_shape(values.shape, kind, path, channels, axes))
    if not np.isfinite(values).all():
        raise DistvaeError(f"{path} has numbers that are NaN or infinite", "expected none")
    return values.astype(np.float32, copy=False)


def scaling(path: Path, other: Path) -> tuple[float, float]:
    """Factor and shift that lie beside latents, else in another folder.

    Raises:
        DistvaeError: there are none.
    """
    beside = (path if path.is_dir() else path.parent) / FACTS
    facts = next((each for each in (beside, other / FACTS) if each.is_file()), beside)
    if not facts.is_file():
        raise DistvaeError(
            f"there is no {facts}",
            "it says what scaled latents were multiplied by",
            "Leave --scaled out, and give latents as the encoder gives them.",
        )
    content: Any = read_json(facts)
    try:
        return float(content["scaling_factor"]), float(content["shift_factor"])
    except (KeyError, TypeError, ValueError) as error:
        raise DistvaeError(
            f"{facts} is damaged", "it has no scaling_factor and shift_factor", "Write it anew."
        ) from error


def _parts(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("part-*") if path.suffix in ENDINGS)


def _array(path: Path) -> NDArray[Any]:
    """That of a file.

    Raises:
        DistvaeError: it is missing, damaged, or holds several arrays of which none is ``latents``.
    """
    try:
        if path.suffix == ".npy":
            return np.load(path, mmap_mode="r")  # type: ignore[no-any-return]
        if path.suffix == ".npz":
            with np.load(path) as arrays:
                return arrays[_named(path, arrays.files)]  # type: ignore[no-any-return]
        found = read_arrays(path)
        return found[_named(path, list(found))]
    except (ValueError, OSError, EOFError) as error:
        if isinstance(error, DistvaeError):
            raise
        raise DistvaeError(f"{path} cannot be read", f"{error}", "Use another copy.") from error


def _named(path: Path, names: list[str]) -> str:
    if NAME in names:
        return NAME
    if len(names) == 1:
        return names[0]
    raise DistvaeError(
        f"{path} holds {', '.join(names) or 'nothing'}", f"expected an array called {NAME}"
    )


def _shape(
    shape: tuple[int, ...], kind: str, path: Path, channels: int, axes: int
) -> tuple[int, ...]:
    """Of an array, with an axis of images where it has none."""
    found = shape if len(shape) == axes + 2 else (1, *shape)
    if kind != "float" or len(found) != axes + 2 or found[1] != channels:
        sides = "D, H, W"[3 * (3 - axes) :]
        raise DistvaeError(
            f"{path} holds {kind} of the shape {list(shape)}",
            f"expected floating point numbers [N, {channels}, {sides}]: this model has {channels} "
            "latents at every place",
        )
    if not all(found):
        raise DistvaeError(
            f"{path} holds no numbers", f"its shape is {list(shape)}", "Use another copy."
        )
    return found
