"""What a safetensors file says of its tensors, read without them. No torch, no safetensors.

Such a file is eight bytes of a length, a JSON object of so many bytes, and then the numbers.
"""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from distvae.errors import DistvaeError
from distvae.reading import MOST_BYTES, open_file, parse_json
from distvae.values import REST, Within, coerce

CHECKSUM = "distvae.sha256"
"""Under this key the metadata holds the SHA-256 of the tensors."""
LARGEST_FILE = 2**50
_BYTES = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2"), 1),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 2),
    **dict.fromkeys(("U32", "I32", "F32"), 4),
    **dict.fromkeys(("U64", "I64", "F64"), 8),
}
_Size = Annotated[int, Within(0, 2**48)]


@dataclass(frozen=True)
class TensorFacts:
    """What stands in the header of one tensor."""

    dtype: str
    """As safetensors names it: ``F32``, ``I64``."""
    shape: Annotated[tuple[_Size, ...], Within(0, 64)]
    data_offsets: tuple[_Size, _Size]
    """Its first byte and the one after its last, counted from the end of the header."""


@dataclass(frozen=True)
class Header:
    """All that stands before the numbers."""

    tensors: dict[str, TensorFacts] = field(metadata=REST)
    __metadata__: dict[str, str] = field(default_factory=dict)

    @property
    def checksum(self) -> str | None:
        """Of the tensors, None where the file says nothing of it."""
        return self.__metadata__.get(CHECKSUM)

    @property
    def numbers(self) -> int:
        """How many numbers all tensors hold."""
        return sum(math.prod(tensor.shape) for tensor in self.tensors.values())


def read_header(path: Path) -> Header:
    """Read and check what stands before the numbers.

    Raises:
        DistvaeError: the file is missing, cut short, or no safetensors file.
    """
    with open_file(path, LARGEST_FILE) as file:
        length = int.from_bytes(file.read(8), "little")
        total = path.stat().st_size
        if not 0 < length <= min(total - 8, MOST_BYTES):
            raise _damaged(path, "it has no header")
        content = parse_json(file.read(length), f"the header of {path}")
    header: Header = coerce("", content, Header, f"the header of {path}")
    end = 0
    for name, tensor in sorted(header.tensors.items(), key=lambda item: item[1].data_offsets):
        first, last = tensor.data_offsets
        size = _BYTES.get(tensor.dtype, 0) * math.prod(tensor.shape)
        if tensor.dtype not in _BYTES or first != end or last - first != size:
            raise _damaged(path, f"its header does not say where {name} lies")
        end = last
    if end != total - 8 - length:
        raise _damaged(path, f"it has {total:,} bytes and should have {end + 8 + length:,}")
    return header


def stored_checksum(path: Path) -> str | None:
    """The checksum that a safetensors file says of its tensors, None where it says nothing."""
    try:
        return read_header(path).checksum
    except DistvaeError:
        return None


def _damaged(path: Path, found: str) -> DistvaeError:
    return DistvaeError(
        f"{path} is damaged", f"it cannot be read as safetensors ({found})", "Use another copy."
    )
