"""The files of an `AutoencoderKL` as they lie on disk: where, in what precision, in one or several.

A folder is that of the autoencoder, or of a whole pipeline that has it in ``vae``. Weights are one
safetensors file, or shards beside an index; where full precision is missing, the file of half
precision is taken. Pickles are never read.
"""

from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from distvae.errors import DistvaeError
from distvae.reading import read_json
from distvae.tensors import check_finite, read_tensors

CONFIG, WEIGHTS = "config.json", "diffusion_pytorch_model.safetensors"
CLASS = "AutoencoderKL"
PART = "vae"
"""Folder of a pipeline in which it lies."""
STEM = WEIGHTS.removesuffix(".safetensors")
HALF = ".fp16"
PICKLES = ("*.bin", "*.ckpt", "*.pt", "*.pth")


class Weights(NamedTuple):
    """What files hold."""

    tensors: dict[str, Tensor]
    """By the names there, in the precision there."""
    path: Path
    """The file, or the index of the shards."""
    note: str
    """What to say of it; empty where it is as expected."""


def is_layout(folder: Path) -> bool:
    """Whether a folder holds an `AutoencoderKL`."""
    return _class_in(folder) == CLASS


def layout_in(folder: Path) -> Path:
    """The folder itself, or the one of a pipeline's autoencoder in it.

    Raises:
        DistvaeError: neither holds one.
    """
    for path in (folder, folder / PART):
        if is_layout(path):
            return path
    found = _class_in(folder) or _class_in(folder / PART)
    raise DistvaeError(
        f"{folder} holds no {CLASS}",
        f"its {CONFIG} is of {found}"
        if found
        else f"expected a {CONFIG} that says so, and {WEIGHTS} beside it, there or in {PART}/",
    )


def _class_in(folder: Path) -> str | None:
    if not (folder / CONFIG).is_file():
        return None
    content: Any = read_json(folder / CONFIG)
    return str(content.get("_class_name")) if isinstance(content, dict) else None


def read_weights(folder: Path) -> Weights:
    """The weights in a folder.

    Raises:
        DistvaeError: there are none but pickles, a shard is missing, or a file is damaged.
    """
    for middle, note in (("", ""), (HALF, f"half precision: there is no {WEIGHTS}")):
        whole, index = (
            folder / f"{STEM}{middle}.safetensors",
            folder / f"{STEM}.safetensors.index{middle}.json",
        )
        if whole.is_file():
            found = read_tensors(whole)
            check_finite(found, whole)
            return Weights(found, whole, note and f"{whole} has {note}")
        if index.is_file():
            return Weights(_shards(index), index, note and f"{index} is of {note}")
    pickles = [path.name for kind in PICKLES for path in sorted(folder.glob(kind))]
    if pickles:
        raise DistvaeError(
            f"{folder} has weights as a pickle alone, {pickles[0]}",
            "reading one runs code that is in it, so distvae does not",
            f"Save it anew by diffusers with safe_serialization=True: {WEIGHTS}.",
        )
    raise DistvaeError(f"there is no {folder / WEIGHTS}", "expected it beside config.json")


def _all_words(places: dict[Any, Any]) -> bool:
    return all(isinstance(name, str) for name in places.values())


def _shards(index: Path) -> dict[str, Tensor]:
    """The tensors of all files that an index names, each from the one that it says."""
    content: Any = read_json(index)
    places = content.get("weight_map") if isinstance(content, dict) else None
    places = places if isinstance(places, dict) else {}
    names = [*dict.fromkeys(places.values())] if _all_words(places) else []
    if not names or any(Path(name).name != name for name in names):
        raise DistvaeError(
            f"{index} is damaged",
            "expected a weight_map from names of tensors to files beside it",
            "Use another copy.",
        )
    found: dict[str, Tensor] = {}
    for name in sorted(names):
        tensors = read_tensors(index.parent / name)
        check_finite(tensors, index.parent / name)
        found |= {key: value for key, value in tensors.items() if places.get(key) == name}
    if missing := sorted(places.keys() - found.keys()):
        raise DistvaeError(
            f"{index} names {missing[0]}, which {places[missing[0]]} does not hold",
            "index and files are not of one model",
            "Use another copy.",
        )
    return found
