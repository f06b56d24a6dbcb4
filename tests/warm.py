"""Processes that need not import torch first: they are forked off one that has.

Each is a process of its own, with its own output, environment and folder; it ends, takes
signals and is killed as any other. Importing torch takes nine tenths of the time of a small
training. What is forked off, and what launchers start, is told in :mod:`tests.forked`.
"""

import contextlib
import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

OWN = ("RANK", "LOCAL_", "WORLD_SIZE", "MASTER_", "ACCELERATE_", "FSDP_", "GLOO_")
"""How names begin of what is read of an environment after the imports alone."""
ROOM = "." * 4096
"""Where a process that is forked off has its own command line written."""
CHILD_SUBREAPER = 36
"""Of prctl(2)."""
Started: TypeAlias = "Process | subprocess.Popen[str]"


class Process:
    """As much of subprocess.Popen as tests and launchers take, for a process forked off."""

    def __init__(self, pid: int, stdout: int | None = None, stderr: int | None = None) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self.stdout = None if stdout is None else os.fdopen(stdout, encoding="utf-8")
        self.stderr = None if stderr is None else os.fdopen(stderr, encoding="utf-8")

    def poll(self) -> int | None:
        """Its exit code, None while it runs."""
        return self._ended(os.WNOHANG)

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code at its end; it is an error that it takes longer than ``timeout``."""
        end = None if timeout is None else time.monotonic() + timeout
        while (code := self._ended(0 if end is None else os.WNOHANG)) is None:
            if end is not None and time.monotonic() > end:
                raise subprocess.TimeoutExpired(str(self.pid), timeout or 0.0)
            time.sleep(0.01)
        return code

    def _ended(self, options: int) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, options)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Nothing happens to one that has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """What it says until its end; it is an error that it takes longer than ``timeout``."""
        said = ["", ""]

        def read(which: int, file: Any) -> None:
            said[which] = file.read()
            file.close()

        files = [file for file in (self.stdout, self.stderr) if file and not file.closed]
        readers = [threading.Thread(target=read, args=each) for each in enumerate(files)]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join(timeout)
            if reader.is_alive():
                raise subprocess.TimeoutExpired(str(self.pid), timeout or 0.0)
        self.wait()
        return said[0], said[1]


@dataclass(frozen=True)
class Asked:
    """What is to be forked off.

    Attributes:
        words: of its command line, without the Python: ``-m MODULE ...`` or ``SCRIPT ...``.
        folder: in which it is.
        environment: its own, like that of the imports but for :data:`OWN`.
        new_session: whether it has a session of its own.
        network: the namespace of the network that it sees, if not this one.
    """

    words: tuple[str, ...]
    folder: str
    environment: dict[str, str] = field(repr=False)
    new_session: bool = False
    network: str | None = None


class Nest:
    """A process that has imported, at the other end of a socket, and those forked off it."""

    def __init__(self, requests: socket.socket) -> None:
        self.requests = requests

    def fork(self, asked: Asked, ends: Sequence[int]) -> int:
        """Fork one off that says what it says to these files; gives its number."""
        _adopt(True)
        try:
            socket.send_fds(self.requests, [json.dumps(vars(asked)).encode() + b"\n"], [*ends])
            return int(self.requests.recv(64))
        finally:
            _adopt(False)

    def begin(self, asked: Asked, one_output: bool) -> Process:
        """The same, and what it says is read here."""
        out, out_end = os.pipe()
        error, error_end = (None, out_end) if one_output else os.pipe()
        try:
            return Process(self.fork(asked, (out_end, error_end)), out, error)
        finally:
            for end in {out_end, error_end}:
                os.close(end)


def _adopt(adopts: bool) -> None:
    """Whether this process becomes the parent of grandchildren whose parent has ended."""
    ctypes.CDLL(None).prctl(CHILD_SUBREAPER, int(adopts), 0, 0, 0)


class _Warm:
    """The nest of this process, made when it is first asked for."""

    environment: Mapping[str, str] | None = None
    nest: Nest | None = None
    parent: "subprocess.Popen[bytes] | None" = None


def _nest() -> Nest:
    if _Warm.nest is None:
        assert _Warm.environment is not None
        ours, theirs = socket.socketpair()
        with theirs:
            _Warm.parent = subprocess.Popen(
                [sys.executable, "-m", "tests.forked", str(theirs.fileno()), ROOM],
                env=dict(_Warm.environment),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )
        _Warm.nest = Nest(ours)
    return _Warm.nest


@contextlib.contextmanager
def nest(environment: Mapping[str, str]) -> Iterator[None]:
    """Meanwhile :func:`begin` forks where it can."""
    _Warm.environment = environment if sys.platform == "linux" else None
    yield
    if _Warm.nest is not None and _Warm.parent is not None:
        _Warm.nest.requests.close()
        _Warm.parent.wait()
    _Warm.environment = _Warm.nest = _Warm.parent = None


def begin(
    words: Sequence[str],
    folder: Path,
    environment: Mapping[str, str],
    one_output: bool = False,
    new_session: bool = False,
    network: str | None = None,
) -> Started:
    """Start a process: modules and scripts are forked off if the environment lets them.

    Args:
        words: its command line, which begins with this Python.
        one_output: whether what it says of errors goes where the rest goes.
        folder, environment, new_session, network: see :class:`Asked`.
    """
    ours = words[1] == "-m" or not words[1].startswith("-")
    if ours and _Warm.environment and _fixed(environment) == _fixed(_Warm.environment):
        asked = Asked(tuple(words[1:]), str(folder), dict(environment), new_session, network)
        return _nest().begin(asked, one_output)
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # a nohup around the tests goes on
    process = subprocess.Popen(
        [*(("ip", "netns", "exec", network) if network else ()), *words],
        cwd=folder,
        env=dict(environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT if one_output else subprocess.PIPE,
        text=True,
        start_new_session=new_session,
    )
    signal.signal(signal.SIGHUP, before)
    return process


def _fixed(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if not name.startswith(OWN)}
