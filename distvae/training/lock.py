"""One run per folder: the process that trains in it holds a lock that dies with the process."""

import contextlib
import errno
import json
import os
import platform
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from distvae.errors import DistvaeError
from distvae.files import LOCK, reporting_disk_errors
from distvae.reading import read_record

try:
    import fcntl
except ImportError:  # Windows has none
    fcntl = None  # type: ignore[assignment]

_UNKNOWN_THERE = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a run folder, made if it is not there; what was made and stayed empty is removed again.

    The lock is the operating system's, on a file in the folder: a killed process leaves the file
    and not the lock. A file system without locks is trained on without.

    Raises:
        DistvaeError: another process holds it, or nothing can be written there.
    """
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    descriptor = _take(folder)
    try:
        with reporting_disk_errors(f"{folder} cannot be trained in", folder):
            os.truncate(descriptor, 0)
            holder = {"pid": os.getpid(), "host": platform.node()}
            os.write(descriptor, json.dumps(holder).encode())
        yield
    finally:
        (folder / LOCK).unlink(missing_ok=True)
        os.close(descriptor)
        with contextlib.suppress(OSError):  # those that hold something stay
            for path in made:
                path.rmdir()


def _take(folder: Path) -> int:
    """An open, locked file that is the one at its path: a holder that left may have deleted it."""
    path = folder / LOCK
    while True:
        with reporting_disk_errors(f"{folder} cannot be trained in", folder):
            folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            if fcntl is not None:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
        except FileNotFoundError:
            pass
        except BlockingIOError as error:
            os.close(descriptor)
            raise _taken(folder) from error
        except OSError as error:
            if error.errno in _UNKNOWN_THERE:
                return descriptor
            raise
        os.close(descriptor)


@dataclass(frozen=True)
class Holder:
    """What stands in the locked file."""

    pid: int | str = "(unknown)"
    host: str = "(unknown)"


def _taken(folder: Path) -> DistvaeError:
    holder = Holder()
    for _ in range(20):  # it may be about to write its name
        with contextlib.suppress(DistvaeError):
            holder = read_record(folder / LOCK, Holder)
            break
        time.sleep(0.02)
    return DistvaeError(
        f"{folder} is being trained in by process {holder.pid} on {holder.host}",
        "a folder takes one run at a time",
        "Wait for it or stop it, or take another --output.",
    )
