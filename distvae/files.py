"""Files and folders that are there whole or not at all.

Everything is written under a temporary name beside its goal, flushed to the disk and renamed, so a
process killed at any instruction leaves the old state or the new one. Temporary names begin with
``TEMPORARY``; what a killed process left of them may be deleted by anyone.
"""

import contextlib
import errno
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from distvae.errors import DistvaeError
from distvae.reading import signed

_ROOM = (None, errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What a full disk is called; numpy gives no number."""
_RIGHTS = (errno.EACCES, errno.EPERM, errno.EROFS)
TEMPORARY = ".writing-"
LOCK = ".lock"
"""In a run folder, the file that is locked while someone trains there."""


@contextlib.contextmanager
def reporting_disk_errors(
    thing: str, folder: Path, needed: int = 0, next_step: str = ""
) -> Iterator[None]:
    """Tell in one message that something could not be written.

    Args:
        thing: what could not, as a sentence.
        folder: where.
        needed: bytes it takes, where they are known.
        next_step: what to do once there is room.

    Raises:
        DistvaeError: the disk is full, read-only or gone, or something else has that name.
    """
    try:
        yield
    except OSError as error:
        found = os.strerror(error.errno) if error.errno else str(error)
        if blocked := _obstacle(folder):
            found, remedy = blocked, "Move it away, or take another place."
        elif error.errno in _ROOM:
            free = f"{shutil.disk_usage(_nearest(folder)).free / 1e6:,.1f} MB are free"
            room = f"it takes {needed / 1e6:,.1f} MB and {free}" if needed else free
            found, remedy = f"{found} ({room} in {folder})", "Make it writable with room."
        elif error.errno in _RIGHTS:
            found = f"{found} ({_nearest(folder)})"
            remedy = "Make it writable, or take another place."
        else:
            remedy = "Take another place."
        raise DistvaeError(thing, found, f"{remedy} {next_step}".strip()) from error


def _nearest(folder: Path) -> Path:
    """The folder, or what there is above it."""
    above = (folder, *folder.parents)
    return next((path for path in above if os.path.lexists(path)), Path())


def _obstacle(folder: Path) -> str:
    """What is in the place of a folder, or of one above it; empty where nothing is."""
    there = _nearest(folder)
    if there.is_dir():
        return ""
    return f"{there} is {'a link that leads nowhere' if there.is_symlink() else 'no folder'}"


def sync(path: Path) -> None:
    """Flush a file or a folder's list of names to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _folders_for(path: Path) -> Iterator[None]:
    """Makes the folders above a path; if the block fails, those that stayed empty go again."""
    missing = [folder for folder in path.parents if not folder.exists()]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        for folder in missing:
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise


@contextlib.contextmanager
def replacing_file(path: Path) -> Iterator[Path]:
    """Gives a temporary path; what is written there becomes ``path`` when the block ends well."""
    temporary = path.with_name(f"{TEMPORARY}{os.getpid()}-{path.name}")
    with _folders_for(path):
        try:
            yield temporary
            sync(temporary)
            temporary.replace(path)
            sync(path.parent)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink()


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Gives an empty temporary folder that becomes ``path`` when the block ends well.

    A folder that is already at ``path`` is replaced; between the two there is an instant with
    neither, never one with a part of either.
    """
    temporary = path.with_name(f"{TEMPORARY}{os.getpid()}-{path.name}")
    with _folders_for(path):
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        try:
            yield temporary
            for file in temporary.iterdir():
                sync(file)
            sync(temporary)
            _put_in_place(temporary, path)
            sync(path.parent)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _put_in_place(new: Path, path: Path) -> None:
    """A folder to where it shall be; what is there goes, or stays if that fails."""
    old = new.with_name(f"{new.name}-old")
    if path.exists():
        path.rename(old)
    try:
        new.rename(path)
    except OSError:
        if old.exists():
            old.rename(path)
        raise
    shutil.rmtree(old, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file whole."""
    with replacing_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file whole, indented; an object with its digest, see :mod:`distvae.reading`."""
    content = signed(content) if isinstance(content, Mapping) else content
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
