"""Named arrays in safetensors files that carry their own checksum, without torch.

The format has none, so a flipped bit would load as a wrong number. Each file written here holds a
SHA-256 of its arrays in its metadata, which is compared on reading; files of other programs, which
lack it, are read without.
"""

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from distvae.errors import DistvaeError
from distvae.files import replacing_file
from distvae.headers import CHECKSUM, read_header

_KINDS = {
    **{f"F{bits}": (f"float{bits}", f"<f{bits // 8}") for bits in (16, 32, 64)},
    **{f"I{bits}": (f"int{bits}", f"<i{bits // 8}") for bits in (8, 16, 32, 64)},
    **{f"U{bits}": (f"uint{bits}", f"<u{bits // 8}") for bits in (8, 16, 32, 64)},
    "BF16": ("bfloat16", "<u2"),
    "BOOL": ("bool", "|b1"),
}
"""By the type that a header names: what torch calls it, and how numpy reads its bytes."""


class Entry(NamedTuple):
    """What a checksum takes of an array."""

    name: str
    dtype: str
    """As torch calls it, such as ``float32``."""
    shape: tuple[int, ...]
    data: Any
    """Its bytes."""


def checksum_of(entries: Iterable[Entry]) -> str:
    """SHA-256 over names, types, shapes and bytes of arrays, given in the order of their names."""
    digest = hashlib.sha256()
    for entry in entries:
        digest.update(f"{entry.name} torch.{entry.dtype} {entry.shape}\n".encode())
        digest.update(entry.data)
    return digest.hexdigest()


def saved(path: Path, save: Callable[[str, dict[str, str]], object], checksum: str) -> None:
    """Write a safetensors file, whole or not at all.

    Args:
        path: of the file.
        save: writes it by the library, given a path and its metadata.
        checksum: of its arrays.

    Raises:
        OSError: there is no room, or no way to write.
    """
    from safetensors import SafetensorError

    # one entry only: with two, their order and so the bytes of the file would be left to chance
    metadata = {CHECKSUM: checksum}
    with replacing_file(path) as temporary:
        temporary.touch()
        mode = temporary.stat().st_mode  # safetensors would make it readable by its owner alone
        try:
            save(str(temporary), metadata)
        except SafetensorError as error:
            found = re.search(r"\(os error (\d+)\)", str(error))
            raise OSError(int(found[1]) if found else None, str(error)) from error
        temporary.chmod(mode)


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write named arrays to a safetensors file; raises what :func:`saved` does."""
    from safetensors.numpy import save_file

    stored = {name: np.asarray(arrays[name], order="C") for name in sorted(arrays)}
    checksum = checksum_of(
        Entry(name, array.dtype.name, array.shape, array.reshape(-1).view(np.uint8).data)
        for name, array in stored.items()
    )
    saved(path, lambda to, metadata: save_file(stored, to, metadata), checksum)


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Read a safetensors file; numbers of type bfloat16 become float32.

    Raises:
        DistvaeError: the file is missing, cut short, of a type that numpy lacks, or its arrays are
            not those written.
    """
    header = read_header(path)
    ends = [facts.data_offsets[1] for facts in header.tensors.values()]
    base, entries = path.stat().st_size - max(ends, default=0), []
    with path.open("rb") as file:
        for name, facts in sorted(header.tensors.items()):
            first, end = facts.data_offsets
            if facts.dtype not in _KINDS:
                raise DistvaeError(
                    f"{path} holds {name} as {facts.dtype}", f"expected one of {', '.join(_KINDS)}"
                )
            file.seek(base + first)
            shape = tuple(facts.shape)
            entries.append(Entry(name, _KINDS[facts.dtype][0], shape, file.read(end - first)))
    if header.checksum is not None and header.checksum != checksum_of(entries):
        raise DistvaeError(
            f"{path} is damaged",
            "its tensors do not match the checksum they were written with",
            "Use another copy.",
        )
    return {each.name: _array(each, header.tensors[each.name].dtype) for each in entries}


def _array(entry: Entry, dtype: str) -> NDArray[Any]:
    values = np.frombuffer(entry.data, _KINDS[dtype][1])
    if dtype == "BF16":  # the upper half of a float32
        values = (values.astype(np.uint32) << 16).view(np.float32)
    return values.reshape(entry.shape)
