"""The folder of decoded images, and who may build in it.

What is being built lies in a hidden folder that its builder holds locked. The lock is the operating
system's and dies with the process, so a folder that nobody holds was left by a killed one.
"""

import contextlib
import errno
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from distvae.config import DataConfig
from distvae.files import LOCK
from distvae.terminal import make_console

try:
    import fcntl
except ImportError:  # Windows has none
    fcntl = None  # type: ignore[assignment]

SUFFIX = ".building"
PATIENCE = 2.0
"""Seconds."""
_NOT_THERE = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EACCES, errno.EPERM)
"""The errors of a file system without locks, and of a folder that another user builds in."""


def cache_folder(config: DataConfig) -> Path:
    """Where decoded images live: as configured, else $DISTVAE_CACHE, else ~/.cache/distvae."""
    chosen = config.cache_dir or os.environ.get("DISTVAE_CACHE") or "~/.cache/distvae"
    return Path(chosen).expanduser()


@contextlib.contextmanager
def building(folder: Path) -> Iterator[Path]:
    """An empty scratch folder beside ``folder`` that this process alone holds; it goes at the end.

    Where another process builds the same, this one waits until that is done. What killed processes
    left in this cache is removed. A file system without locks is built on without.

    Raises:
        OSError: nothing can be written there.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    path = folder.with_name(f".{folder.name}{SUFFIX}")
    descriptor = _hold(path)
    if descriptor is None:
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
            yield Path(scratch)
        return
    try:
        _remove_leftovers(folder.parent, path)
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(descriptor)


def _hold(path: Path) -> int | None:
    """The open lock of a folder, which is made; None where there are no locks."""
    lock = path / LOCK
    while fcntl is not None:
        path.mkdir(exist_ok=True)
        with contextlib.suppress(FileNotFoundError), contextlib.ExitStack() as opened:
            try:
                descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
                opened.callback(os.close, descriptor)
                _wait_for(descriptor, path.parent)
                if os.path.samestat(os.fstat(descriptor), lock.stat()):
                    opened.pop_all()
                    return descriptor
            except OSError as error:  # one that is not found was removed by its holder
                if error.errno in _NOT_THERE:
                    return None
                raise
    return None


def _wait_for(descriptor: int, cache: Path) -> None:
    """Lock an open file; say so where another process holds it for long."""
    patient = time.monotonic() + PATIENCE
    while not _taken(descriptor):
        if time.monotonic() < patient:
            time.sleep(0.02)
            continue
        note = f"another process decodes the same images into {cache}; waiting for it"
        make_console(quiet=os.environ.get("RANK", "0") != "0").print(note)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        return


def _taken(descriptor: int) -> bool:
    """Lock an open file, unless another process holds it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _remove_leftovers(cache: Path, own: Path) -> None:
    """Empty the folder that is held, and remove those that nobody holds."""
    for path in own.iterdir():
        if path.name != LOCK:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    for path in cache.glob(f".*{SUFFIX}"):
        with contextlib.suppress(OSError):
            descriptor = os.open(path / LOCK, os.O_RDWR)
            try:
                if path != own and _taken(descriptor):
                    shutil.rmtree(path)
            finally:
                os.close(descriptor)
