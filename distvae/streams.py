"""Standard output and error that may be closed, cut off or on a full disk. No torch.

``print`` raises where its reader is gone (``distvae ... | head -1``) or the disk is full, at any
line of any function. So the two streams of a process are replaced at its start by ones that note
the failure and drop what cannot be written. The command decides at its end what the loss means.
"""

import contextlib
import errno
import io
import os
import sys
from typing import Any

READER_LEFT = (errno.EPIPE, errno.EIO)
"""The other end of a pipe is closed, or a terminal hung up."""


class Forgiving(io.RawIOBase):
    """A raw stream that takes everything, whether it can be written or not.

    After a failure its descriptor leads nowhere, so that child processes and libraries that write
    to it do not fail either.

    Args:
        raw: what is written to.
    """

    def __init__(self, raw: Any) -> None:
        self._raw = raw
        self.failure: OSError | None = None
        """Why something was dropped."""

    def fileno(self) -> int:
        """The descriptor."""
        number: int = self._raw.fileno()
        return number

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return bool(self._raw.isatty())

    def writable(self) -> bool:
        """Always."""
        return True

    def write(self, content: Any) -> int | None:
        """Write what can be written, and drop the rest."""
        try:
            written: int | None = self._raw.write(content)
            return written
        except OSError as error:
            self.failure = error
            with contextlib.suppress(OSError):
                _lead_nowhere(self.fileno())
            return len(memoryview(content).cast("B"))


class Streams:
    """Standard output and error of this process, from now on forgiving."""

    def __init__(self) -> None:
        for descriptor in (0, 1, 2):
            try:
                os.fstat(descriptor)
            except OSError:  # or the next file that is opened would be written to by prints
                _lead_nowhere(descriptor)
        self._output, sys.stdout = _forgiving(sys.stdout, 1)
        _, sys.stderr = _forgiving(sys.stderr, 2)

    def output_failure(self) -> OSError | None:
        """Why standard output was not written; None where it was, or where its reader left."""
        sys.stdout.flush()
        failure = self._output.failure
        return None if failure is None or failure.errno in READER_LEFT else failure


def _lead_nowhere(descriptor: int) -> None:
    nowhere = os.open(os.devnull, os.O_RDWR)
    if nowhere != descriptor:
        os.dup2(nowhere, descriptor)
        os.close(nowhere)


def _forgiving(stream: Any, descriptor: int) -> tuple[Forgiving, io.TextIOWrapper]:
    """The raw and the text stream that replace ``stream``, which is None where it was closed."""
    if stream is None:
        raw = Forgiving(io.FileIO(descriptor, "w", closefd=False))
    else:
        raw = Forgiving(getattr(stream.buffer, "raw", stream.buffer))
    text = io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=getattr(stream, "encoding", "utf-8"),
        errors="backslashreplace",  # a sign that the terminal's encoding lacks is no error
        line_buffering=True,
    )
    return raw, text
