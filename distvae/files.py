"""Files and folders that are there whole or not at all.

Everything is written under a temporary name beside its goal, flushed to the disk and renamed, so a
process killed at any instruction leaves the old state or the new one. Temporary names begin with
``TEMPORARY``; what a killed process left of them may be deleted by anyone.
"""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from distvae.errors import DistvaeError
from distvae.reading import signed

TEMPORARY = ".writing-"
LOCK = ".lock"
"""In a run folder, the file that is locked while someone trains there."""


@contextlib.contextmanager
def disk_told(thing: str, folder: Path, needed: int = 0, next_step: str = "") -> Iterator[None]:
    """Tell in one message that something could not be written.

    Args:
        thing: what could not, as a sentence.
        folder: where.
        needed: bytes it takes, where they are known.
        next_step: what to do once there is room.

    Raises:
        DistvaeError: the disk is full, read-only or gone.
    """
    try:
        yield
    except OSError as error:
        found = os.strerror(error.errno) if error.errno else str(error)
        near = next((path for path in (folder, *folder.parents) if path.exists()), Path())
        free = f"{shutil.disk_usage(near).free / 1e6:,.1f} MB are free"
        room = f"it takes {needed / 1e6:,.1f} MB and {free}" if needed else free
        raise DistvaeError(
            thing,
            f"{found} ({room} in {folder})",
            f"Make it writable with room. {next_step}".strip(),
        ) from error


def sync(path: Path) -> None:
    """Flush a file or a folder's list of names to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def replacing_file(path: Path) -> Iterator[Path]:
    """Gives a temporary path; what is written there becomes ``path`` when the block ends well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{TEMPORARY}{os.getpid()}-{path.name}")
    try:
        yield temporary
        sync(temporary)
        temporary.replace(path)
        sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Gives an empty temporary folder that becomes ``path`` when the block ends well.

    A folder that is already at ``path`` is replaced; between the two there is an instant with
    neither, never one with a part of either.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{TEMPORARY}{os.getpid()}-{path.name}")
    old = temporary.with_name(f"{temporary.name}-old")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        yield temporary
        for file in temporary.iterdir():
            sync(file)
        sync(temporary)
        if path.exists():
            path.rename(old)
        temporary.rename(path)
        sync(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file whole."""
    with replacing_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file whole, indented; an object with its digest, see :mod:`distvae.reading`."""
    content = signed(content) if isinstance(content, Mapping) else content
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
