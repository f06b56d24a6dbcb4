"""A checksum at the end of an exported file, so that a flipped bit is found before it is drawn.

The last bytes of a file are a metadata entry with the SHA-256 of all bytes before them, and of the
files beside it in which its weights lie. Nothing needs to be understood to compare it: cut off
:data:`LENGTH` bytes, hash the rest. Needs the Python standard library only.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from distvae.errors import DistvaeError
from distvae.export.outline import Outline, metadata_entry

KEY = "distvae.sha256"
LENGTH = len(metadata_entry(KEY, 64 * "0"))
"""Bytes of the entry; its last 64 are the SHA-256 in hexadecimal digits."""
LARGEST = 200_000_000
"""Bytes, with what lies beside the file, up to which a file is compared unless told otherwise."""
_BLOCK = 2**20


def append_checksum(path: Path, beside: Sequence[Path] = ()) -> None:
    """Add its checksum to a whole ONNX file.

    Args:
        path: the file.
        beside: files of its weights, in the order in which it names them.
    """
    digest = _digest(path, path.stat().st_size, beside)
    with path.open("ab") as file:
        file.write(metadata_entry(KEY, digest))


def check_file(path: Path, outline: Outline, verify: bool | None) -> bool:
    """Compare a file and what lies beside it with its checksum, if it has one.

    Args:
        path: the file.
        outline: what it says of itself.
        verify: whether to; None for files of at most :data:`LARGEST` bytes.

    Returns:
        Whether it was spared because it is large.

    Raises:
        DistvaeError: some byte is not the one that was exported, or it cannot be read.
    """
    expected = outline.metadata.get(KEY)  # earlier versions wrote none
    beside = [path.parent / location for location in outline.locations]
    large = sum(part.stat().st_size for part in (path, *beside)) > LARGEST
    if expected is None or verify is False or (large and verify is None):
        return expected is not None and verify is None
    end = max(0, path.stat().st_size - LENGTH)
    with path.open("rb") as file:
        file.seek(end)
        at_the_end = file.read() == metadata_entry(KEY, expected)
    if not at_the_end or _digest(path, end, beside) != expected:
        names = " or ".join(part.name for part in (path, *beside))
        raise DistvaeError(
            f"{path} is damaged",
            f"{names} is not as it was exported: its SHA-256 is not {expected[:12]}...",
            "Take another copy, or export the run again; --verify off takes it as it is.",
        )
    return False


def _digest(path: Path, size: int, beside: Sequence[Path]) -> str:
    """SHA-256 of the first ``size`` bytes of a file and of the whole of others."""
    digest = hashlib.sha256()
    for part, length in ((path, size), *((part, part.stat().st_size) for part in beside)):
        with part.open("rb") as file:
            while length > 0 and (block := file.read(min(_BLOCK, length))):
                digest.update(block)
                length -= len(block)
    return digest.hexdigest()
