"""What files and arrays hold, told by digests: never by where they lie or when they were written.

Every digest is a SHA-256 over the digests of pieces, so that threads share the work. What is on a
disk is read once: beside a digest it is remembered which sizes, times and inodes the files had, and
as long as they have these, nothing is read again.
"""

import hashlib
import json
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from distvae.errors import DistvaeError
from distvae.files import write_json
from distvae.reading import read_json

Progress = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]
"""(description, how many) -> a context that gives a function to tell how many more are done."""

Item = TypeVar("Item")
Found = TypeVar("Found")

ROWS = 64
"""Of an array, in a piece."""
PIECE = 2**23
"""Bytes of a file in a piece."""
JOB = 256
"""Pieces that a thread takes at most at a time."""
SAMPLED_FILES, SAMPLED_PIECES, SAMPLED_PIECE = 1024, 16, 2**16
"""How much is read of files that are sampled: of how many, how many pieces, of how many bytes."""
MOMENT = 0.02
"""Seconds in which a file may change twice and keep its time."""


def threads() -> int:
    """How many threads decode and digest."""
    return min(8, os.cpu_count() or 1)


def combined(content: Any) -> str:
    """The digest of anything that JSON takes."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


# --- arrays ---------------------------------------------------------------------------------------


def piece_digest(rows: NDArray[Any]) -> bytes:
    """The digest of one piece of an array, ``ROWS`` of its rows."""
    return hashlib.sha256(np.ascontiguousarray(rows).data).digest()


def array_digest(kind: np.dtype[Any], shape: Sequence[int], pieces: Iterable[bytes]) -> str:
    """The digest of an array: of its kind, its shape and its pieces in their order."""
    digest = hashlib.sha256(f"{kind.str} {tuple(map(int, shape))}\n".encode())
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()


def digest_of(array: NDArray[Any], advance: Callable[[int], None] = lambda count: None) -> str:
    """The digest of a whole array, also of one on disk; ``advance`` is told of rows."""

    def digest(start: int) -> bytes:
        return piece_digest(array[start : start + ROWS])

    def pieces() -> Iterator[bytes]:
        found = _mapped(digest, starts, array.nbytes)
        for start, piece in zip(starts, found, strict=True):
            advance(min(ROWS, len(array) - start))
            yield piece

    starts = range(0, len(array), ROWS)
    return array_digest(array.dtype, array.shape, pieces())


def _mapped(work: Callable[[Item], Found], items: Iterable[Item], size: int) -> Iterator[Found]:
    """What becomes of each item, by threads where it is worth one: each keeps memory of its own."""
    if size <= PIECE:
        yield from map(work, items)
        return
    with ThreadPoolExecutor(threads()) as pool:
        yield from pool.map(work, items)


# --- files ----------------------------------------------------------------------------------------


def state_of(root: Path, files: Iterable[Path]) -> str:
    """A digest of what the file system tells of files without reading them: sizes, times, inodes.

    Files are named relative to ``root``. Where one was written within a moment, this waits as long,
    so that another write afterwards shows in its time.

    Raises:
        DistvaeError: one of them is not there.
    """
    digest, newest = hashlib.sha256(), 0
    for file in files:
        found = _stat(file)
        newest = max(newest, found.st_mtime_ns, found.st_ctime_ns)
        stamp = (found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)
        digest.update(f"{_name(root, file)}\0{stamp}\n".encode(errors="surrogateescape"))
    if time.time() - newest / 1e9 < MOMENT:
        time.sleep(MOMENT)
    return digest.hexdigest()


def remembered(memory: Path, state: str) -> str | None:
    """What was remembered of files in this very state, None where nothing was."""
    with suppress(OSError, ValueError, TypeError, KeyError, RecursionError):
        kept = read_json(memory)
        if kept["state"] == state and isinstance(kept["digest"], str):
            result: str = kept["digest"]
            return result
    return None


def remember(memory: Path, state: str, digest: str) -> None:
    """Remember a digest of files in this state; where nothing can be written, nothing is."""
    with suppress(OSError):
        write_json(memory, {"state": state, "digest": digest})


def check_regular(files: Iterable[Path]) -> None:
    """Refuse pipes and devices, of which a read may never end.

    Raises:
        DistvaeError: there is one, or a file is missing.
    """
    for file in files:
        if not stat.S_ISREG(_stat(file).st_mode):
            raise DistvaeError(f"{file} is a pipe or a device", "expected a file", "Remove it.")


def files_identity(
    root: Path,
    files: Sequence[Path],
    cache: Path,
    sampled: bool = False,
    progress: Progress | None = None,
) -> str:
    """The digest of what files hold and how they are called below ``root``.

    It is the same wherever the folder lies and whenever it was written. The first call reads the
    files; later ones look at sizes and times only, as long as these do not change.

    Args:
        root: the folder that the files belong to.
        files: all that decide which images and labels there are, in a fixed order.
        cache: the folder of decoded images; what is remembered lies in it.
        sampled: read no more than 16 evenly spread pieces of 64 kB, the first and the last among
            them, of at most 1,024 evenly spread files. That is quick however large they are. Every
            file that is added, removed, renamed or of another size is found, and data that is
            written anew; a few bytes changed in the midst of a large file are not.
        progress: called with a description and a number of bytes.

    Raises:
        DistvaeError: a file is missing or cannot be read.
    """
    regular = [file for file in files if stat.S_ISREG(_stat(file).st_mode)]
    place = combined([str(root), sampled])[:16]
    memory = cache / ".digests" / f"{place}.json"
    state = state_of(root, regular)
    if known := remembered(memory, state):
        return known
    digest = hashlib.sha256()
    for file, found in _digests(regular, sampled, progress):
        digest.update(f"{_name(root, file)}\0{found}\n".encode(errors="surrogateescape"))
    if state_of(root, regular) == state:
        remember(memory, state, digest.hexdigest())
    return digest.hexdigest()


class _Piece(NamedTuple):
    file: int
    start: int
    size: int


def _digests(
    files: Sequence[Path], sampled: bool, progress: Progress | None
) -> Iterator[tuple[Path, str]]:
    """Each file and a digest of its size and content."""
    sizes = [_stat(file).st_size for file in files]
    step = max(1, -(-len(files) // SAMPLED_FILES)) if sampled else 1
    pieces = [
        _Piece(number, start, size)
        for number in range(0, len(files), step)
        for start, size in _pieces(sizes[number], sampled)
    ]
    told = progress("reading files", sum(piece.size for piece in pieces)) if progress else None
    digests = [hashlib.sha256(str(size).encode()) for size in sizes]
    with told or nullcontext(lambda count: None) as advance:
        size = 0 if sampled else sum(sizes)  # a sample is read at once
        found = _mapped(partial(_read_all, files), _jobs(pieces), size)
        for piece, digest in zip(pieces, chain.from_iterable(found), strict=True):
            digests[piece.file].update(digest)
            advance(piece.size)
    for file, whole in zip(files, digests, strict=True):
        yield file, whole.hexdigest()


def _pieces(size: int, sampled: bool) -> Iterator[tuple[int, int]]:
    """Where the pieces of a file begin, and how many bytes they are."""
    if sampled and size > SAMPLED_PIECES * SAMPLED_PIECE:
        last = size - SAMPLED_PIECE
        for number in range(SAMPLED_PIECES):
            yield last * number // (SAMPLED_PIECES - 1), SAMPLED_PIECE
    else:
        for start in range(0, size, PIECE):
            yield start, min(PIECE, size - start)


def _jobs(pieces: Iterable[_Piece]) -> Iterator[list[_Piece]]:
    """Pieces in portions of about ``PIECE`` bytes and at most ``JOB``."""
    job: list[_Piece] = []
    held = 0
    for piece in pieces:
        job.append(piece)
        held += piece.size
        if held >= PIECE or len(job) == JOB:
            yield job
            job, held = [], 0
    if job:
        yield job


def _read_all(files: Sequence[Path], job: Sequence[_Piece]) -> list[bytes]:
    return [_read(files[piece.file], piece) for piece in job]


def _read(file: Path, piece: _Piece) -> bytes:
    try:
        with file.open("rb") as opened:
            opened.seek(piece.start)
            return hashlib.sha256(opened.read(piece.size)).digest()
    except OSError as error:
        raise DistvaeError(
            f"cannot read {file}",
            error.strerror or str(error),
            "Make it readable, or remove it.",
        ) from error


def _stat(file: Path) -> os.stat_result:
    try:
        return file.stat()
    except OSError as error:
        raise DistvaeError(
            f"cannot look at {file}", error.strerror or str(error), "Remove it."
        ) from error


def _name(root: Path, file: Path) -> str:
    """A file's path below the root, with ``/`` on every system."""
    return os.path.relpath(file, root).replace(os.sep, "/")
