"""Named tensors in safetensors files that carry their own checksum (see :mod:`distvae.arrays`)."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from distvae.arrays import Entry, checksum_of, saved
from distvae.errors import DistvaeError, MismatchError
from distvae.headers import read_header, stored_checksum
from distvae.weight_names import brought_up_to_date, named_as_now


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write named tensors to a safetensors file, whole or not at all.

    Raises:
        OSError: there is no room, or no way to write.
    """
    stored = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    saved(path, lambda to, metadata: save_file(stored, to, metadata), checksum(stored))


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file to the CPU.

    Raises:
        DistvaeError: the file is missing, cut short, or its tensors are not those written.
    """
    expected = read_header(path).checksum
    try:
        with safe_open(str(path), framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise DistvaeError(
            f"{path} is damaged", f"it cannot be read as safetensors ({error})", "Use another copy."
        ) from error
    if expected is not None and expected != checksum(tensors):
        raise DistvaeError(
            f"{path} is damaged",
            "its tensors do not match the checksum they were written with",
            "Use another copy.",
        )
    return tensors


def load_weights(model: nn.Module, path: Path) -> None:
    """Fill a model from a safetensors file.

    Raises:
        DistvaeError: the file is missing or damaged, or a number in it is not finite.
        MismatchError: it is whole, but of another architecture.
    """
    check_weights(model, path)
    model.load_state_dict(brought_up_to_date(read_tensors(path)))
    check_finite(model.state_dict(), path)


def check_weights(model: nn.Module, path: Path) -> None:
    """Compare names, shapes and kinds of numbers with a file's header; reads no number.

    Args:
        model: may be on torch's ``meta`` device, where it takes no memory.
        path: a safetensors file.

    Raises:
        DistvaeError: the file is missing or damaged.
        MismatchError: it is whole, but of another architecture.
    """
    there, own = named_as_now(read_header(path).tensors), model.state_dict()
    for name in sorted(own.keys() | there.keys()):
        found = _shown(there[name].dtype, there[name].shape) if name in there else "absent"
        expected = _shown(_DTYPES[own[name].dtype], own[name].shape) if name in own else "absent"
        if found != expected:
            raise MismatchError(
                f"{path} is of another architecture",
                f"{name} is {found} there and {expected} in this model",
                "Load it with the config.json it was saved with.",
            )


def check_finite(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Refuse NaN and infinity.

    Raises:
        DistvaeError: it names the first tensor that has one.
    """
    for name, tensor in tensors.items():
        if not (finite := torch.isfinite(tensor)).all():
            count = finite.numel() - int(finite.sum())
            raise DistvaeError(
                f"{path} cannot be used",
                f"{count:,} of {finite.numel():,} numbers of {name} are NaN or infinite",
                "Use another copy, or an earlier checkpoint.",
            )


_DTYPES = {
    **{getattr(torch, f"float{bits}"): f"F{bits}" for bits in (16, 32, 64)},
    **{getattr(torch, f"int{bits}"): f"I{bits}" for bits in (8, 16, 32, 64)},
    torch.bfloat16: "BF16",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


def _shown(dtype: str, shape: Sequence[int]) -> str:
    """Kind of number and shape; one float is as good as another."""
    kind = "float" if dtype.startswith(("F", "BF")) else dtype
    return f"{kind} {tuple(shape)}"


def checksum(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, types, shapes and bytes, in the order of the names."""
    return checksum_of(
        Entry(
            name,
            str(tensors[name].dtype).removeprefix("torch."),
            tuple(tensors[name].shape),
            tensors[name].contiguous().reshape(-1).view(torch.uint8).numpy().data,
        )
        for name in sorted(tensors)
    )


def weights_checksum(path: Path) -> str:
    """The :func:`checksum` of a file's tensors, as the file says it, or computed where it does not.

    Raises:
        DistvaeError: the file is missing or damaged.
    """
    return stored_checksum(path) or checksum(read_tensors(path))
