"""Processes that need not import torch first: they are forked off one that has.

Each is a process of its own, with its own output, environment and folder; it ends, takes
signals and is killed as any other. Importing torch takes half of the time of a small training.

``python tests/warm.py SOCKET`` is the process they are forked off: it imports, then forks for each
request on the socket that it inherited.
"""

import contextlib
import ctypes
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

OWN = {"RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"} | {
    "ACCELERATE_USE_CPU"
}
"""What of an environment is read after the imports alone."""
IMPORTED = ("torch", "accelerate", "distvae.training.run", "distvae.evaluation.evaluate")
CHILD_SUBREAPER = 36
"""Of prctl(2)."""
Started: TypeAlias = "Process | subprocess.Popen[str]"
_environment: Mapping[str, str] | None = None
_nest: "Nest | None" = None


class Process:
    """As much of subprocess.Popen as the tests take, for a process that was forked off."""

    def __init__(self, pid: int, stdout: int, stderr: int | None) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self.stdout = os.fdopen(stdout, encoding="utf-8", errors="strict")
        self.stderr = None if stderr is None else os.fdopen(stderr, encoding="utf-8")

    def poll(self) -> int | None:
        """Its exit code, None while it runs."""
        return self._ended(os.WNOHANG)

    def wait(self) -> int:
        """Its exit code, when it has ended."""
        code = self._ended(0)
        assert code is not None
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


class Nest:
    """The process that has imported, and those forked off it."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.socket, theirs = socket.socketpair()
        with theirs:
            self.parent = subprocess.Popen(
                [sys.executable, __file__, str(theirs.fileno())],
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )

    def begin(
        self,
        words: Sequence[str],
        folder: Path,
        environment: Mapping[str, str],
        one_output: bool,
        new_session: bool,
    ) -> Process:
        """Fork one off.

        Args:
            words: its command line: this Python, then ``-m MODULE ...`` or ``SCRIPT ...``.
            folder: in which it is.
            environment: like that of the imports, but for :data:`OWN`.
            one_output: whether what it says of errors goes where the rest goes.
            new_session: whether it has a session of its own.
        """
        asked = [[*words[1:]], str(folder), dict(environment), new_session]
        out, out_end = os.pipe()
        error, error_end = (None, out_end) if one_output else os.pipe()
        _adopt(True)
        try:
            ends = [out_end, error_end]
            socket.send_fds(self.socket, [json.dumps(asked).encode() + b"\n"], ends)
            pid = int(self.socket.recv(64))
        finally:
            _adopt(False)
            for end in {out_end, error_end}:
                os.close(end)
        return Process(pid, out, error)

    def end(self) -> None:
        """End the process that has imported."""
        self.socket.close()
        self.parent.wait()


def _adopt(adopts: bool) -> None:
    """Whether this process becomes the parent of grandchildren whose parent has ended."""
    ctypes.CDLL(None).prctl(CHILD_SUBREAPER, int(adopts), 0, 0, 0)


@contextlib.contextmanager
def nest(environment: Mapping[str, str]) -> Iterator[None]:
    """Meanwhile :func:`begin` forks where it can."""
    global _environment, _nest
    _environment = environment if sys.platform == "linux" else None
    yield
    if _nest is not None:
        _nest.end()
    _environment = _nest = None


def begin(
    words: Sequence[str],
    folder: Path,
    environment: Mapping[str, str],
    one_output: bool = False,
    new_session: bool = False,
) -> Started:
    """Start a process: the command and scripts that use it are forked off, launchers are not.

    See :meth:`Nest.begin`.
    """
    global _nest
    ours = not words[1].startswith("-") or tuple(words[1:3]) == ("-m", "distvae.cli")
    if ours and _environment is not None and _fixed(environment) == _fixed(_environment):
        _nest = _nest or Nest(_environment)
        return _nest.begin(words, folder, environment, one_output, new_session)
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # a nohup around the tests goes on
    process = subprocess.Popen(
        words,
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
    return {name: value for name, value in environment.items() if name not in OWN}


def serve(requests: socket.socket) -> list[str] | None:
    """Answer requests; in a process that was forked off, the words of its command line."""
    while True:
        message, ends = b"", list[int]()
        while not message.endswith(b"\n"):
            part, more, _, _ = socket.recv_fds(requests, 65536, 2)
            if not part:
                return None
            message, ends = message + part, ends + more
        told, telling = os.pipe()
        between = os.fork()
        if between == 0:
            pid = os.fork()
            if pid:
                os.write(telling, str(pid).encode())
                os._exit(0)
            requests.close()
            for end in (told, telling):
                os.close(end)
            words, folder, environment, new_session = json.loads(message)
            return _become(words, folder, environment, new_session, ends)
        os.waitpid(between, 0)  # only now has its child another parent
        requests.send(os.read(told, 64))
        for end in (told, telling, *ends):
            os.close(end)


def _become(
    words: list[str], folder: str, environment: dict[str, str], new_session: bool, ends: list[int]
) -> list[str]:
    for number, end in enumerate(ends, 1):
        os.dup2(end, number)
        os.close(end)
    if new_session:
        os.setsid()
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    return words


def run(words: list[str]) -> None:
    """Be ``python WORDS``."""
    if words[0] == "-m":
        sys.argv, sys.path[0] = words[1:], str(Path.cwd())
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv, sys.path[0] = words, str(Path(words[0]).resolve().parent)
        runpy.run_path(words[0], run_name="__main__")


if __name__ == "__main__":
    with contextlib.closing(socket.socket(fileno=int(sys.argv[1]))) as inherited:
        for name in IMPORTED:
            __import__(name)
        asked_words = serve(inherited)
    if asked_words is not None:
        run(asked_words)
