"""What is forked off a process that has imported torch; see :mod:`tests.warm`.

``python -m tests.forked SOCKET`` imports, then forks for each request on the socket that it
inherited. A launcher that is forked off (torch's or Accelerate's) has a process of its own for the
same, forked off before it began: what it starts is forked as well.
"""

import ctypes
import importlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.warm import Asked, Nest, Process

IMPORTED = ("torch", "accelerate", "distvae.training.run", "distvae.evaluation.evaluate")
HANDLER = "torch.distributed.elastic.multiprocessing.subprocess_handler.subprocess_handler"
LAUNCHERS = {
    "torch.distributed.run": (HANDLER, "torch.distributed.run"),
    "accelerate.commands.launch": (HANDLER, "accelerate.commands.launch"),
}
"""By module, what else each imports."""
EXPORT = ("torch.onnx", "onnxscript", "distvae.export.command")
"""What the command export imports late."""
GROUP = ("torch._dynamo",)
"""What each of several processes imports with DistributedDataParallel."""
NEW_NETWORK = 0x40000000
"""CLONE_NEWNET of setns(2)."""
WHILE_ASKED = (signal.SIGINT, signal.SIGTERM)
"""What does not end the process that forks for a launcher: it ends with the launcher."""


def serve(requests: socket.socket) -> list[str] | None:
    """Answer requests; in a process that was forked off, the words of its command line."""
    while True:
        message, ends = b"", list[int]()
        while not message.endswith(b"\n"):
            part, more, _, _ = socket.recv_fds(requests, 65536, 2)
            if not part:
                return None
            message, ends = message + part, ends + more
        asked = Asked(**json.loads(message))
        _import(asked)
        told, telling = os.pipe()
        between = os.fork()
        if between == 0:
            if os.fork():
                os._exit(0)
            if asked.new_session:
                os.setsid()
            os.write(telling, str(os.getpid()).encode())
            requests.close()
            for end in (told, telling):
                os.close(end)
            return _become(asked, ends)
        os.waitpid(between, 0)  # only now has its child another parent
        requests.send(os.read(told, 64))
        for end in (told, telling, *ends):
            os.close(end)


def _import(asked: Asked) -> None:
    """What this command imports late; once for all that come."""
    launcher = LAUNCHERS.get(asked.words[1], ()) if asked.words[0] == "-m" else ()
    group = GROUP if launcher or "WORLD_SIZE" in asked.environment else ()
    for name in (*launcher, *group, *(EXPORT if "export" in asked.words else ())):
        importlib.import_module(name)


def _become(asked: Asked, ends: list[int]) -> list[str]:
    for number, end in enumerate(ends, 1):
        os.dup2(end, number)
    for end in {*ends}:
        os.close(end)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    _show(asked.words)
    if asked.network is not None:
        with Path("/run/netns", asked.network).open() as namespace:
            if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), NEW_NETWORK):
                raise OSError(ctypes.get_errno(), "setns")
    os.chdir(asked.folder)
    os.environ.clear()
    os.environ.update(asked.environment)
    return [*asked.words]


def _show(words: tuple[str, ...]) -> None:
    """Have other processes see this command line, over the one that was padded with ``ROOM``."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    start, end = map(int, fields[45:47])  # arg_start and arg_end of proc(5)
    shown = "\0".join([sys.executable, *words]).encode()[: end - start - 1]
    ctypes.memmove(start, shown.ljust(end - start, b"\0"), end - start)


def _fork_what_is_launched() -> list[str] | None:
    """In a launcher, None; in a process that it starts, the words of its command line."""
    ours, theirs = socket.socketpair()
    if os.fork() == 0:
        ours.close()
        for number in WHILE_ASKED:
            signal.signal(number, signal.SIG_IGN)
        words = serve(theirs)
        if words is None:
            os._exit(0)
        return words
    theirs.close()
    nest, real = Nest(ours), subprocess.Popen

    def start(
        args: Any,
        env: Mapping[str, str] | None = None,
        start_new_session: bool = False,
        **rest: Any,
    ) -> Any:
        if args[0] != sys.executable:
            return real(args, env=env, start_new_session=start_new_session, **rest)
        assert not any(rest.values()), rest
        words = tuple(word for word in args[1:] if word != "-u")
        environment = dict(os.environ if env is None else env)
        asked = Asked(words, str(Path.cwd()), environment, start_new_session)
        return Process(nest.fork(asked, (1, 2)))

    for module in (subprocess, sys.modules[HANDLER]):
        vars(module)["Popen"] = start
    return None


def run(words: list[str]) -> None:
    """Be ``python WORDS``."""
    while words[0] == "-m" and words[1] in LAUNCHERS:
        launched = _fork_what_is_launched()
        if launched is None:
            break
        words = launched
    if words[0] == "-m":
        sys.argv, sys.path[0] = words[1:], str(Path.cwd())
        sys.modules.pop(words[1], None)  # it is run as the main program
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv, sys.path[0] = words, str(Path(words[0]).resolve().parent)
        runpy.run_path(words[0], run_name="__main__")


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as inherited:
        for module_name in IMPORTED:
            importlib.import_module(module_name)
        asked_words = serve(inherited)
    if asked_words is not None:
        run(asked_words)
