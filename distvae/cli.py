"""The command line. Each command imports what it needs when it is called, so `--help` is quick."""

import atexit
import importlib
import os
import re
import shutil
import sys
import textwrap
import time
import traceback
from collections.abc import Callable, Iterable
from typing import NoReturn

import distvae
from distvae.commands import COMMANDS, EVERYWHERE, TOOLS
from distvae.errors import (
    DONE,
    INTERNAL_FAILURE,
    INTERRUPTED,
    WRONG_INPUT,
    DistvaeError,
    LostError,
)
from distvae.flags import HELP, groups_of, parse
from distvae.hints import command_meant
from distvae.packages import reporting_missing_packages
from distvae.streams import Streams
from distvae.terminal import PROGRESS, QUIET, is_terminal, progress_mode, say, speaks
from distvae.text import printable, shortened
from distvae.usage import line_width, listed

PATIENCE = 5.0
"""Seconds."""
LONGEST = 4000
"""Characters of a message, of which what was given may be a part."""
USAGE = "usage: distvae COMMAND [OPTIONS]"
BELOW = (
    "`distvae COMMAND --help` teaches a command. A RUN is a run folder, one of its checkpoints or an"
    " ONNX file; left out, it is the newest run in runs/.",
    "Every command takes these; `distvae --version` names this version:",
)


def train(arguments: list[str]) -> int:
    """`distvae train`."""
    from distvae.arguments import training

    asked = training(arguments)
    if speaks() and is_terminal(sys.stdout):
        say("loading torch")  # which may take seconds
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # stack traces for a peer that is gone
    from distvae.training.report import report
    from distvae.training.run import run_training

    outcome = run_training(*asked)
    if speaks():
        report(outcome)
    return INTERRUPTED if outcome.signal_name == "SIGINT" else DONE


def sweep(arguments: list[str]) -> int:
    """`distvae sweep`."""
    from distvae.sweeps.command import sweep

    return sweep(arguments)


OWN: dict[str, Callable[[list[str]], int]] = {"train": train, "sweep": sweep}
"""Commands that take their words as they are."""


def run_and_exit(arguments: list[str] | None = None) -> NoReturn:
    """Run a command as a process of its own, which ends with it."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    streams = Streams()
    try:
        code = main(words)
        told_by_files = words[:1] == ["train"]
    except SystemExit as stop:  # --help, or flags that are wrong
        code = stop.code if isinstance(stop.code, int) else WRONG_INPUT
        told_by_files = False
    failure = streams.output_failure()
    if failure is not None:
        print(f"error: standard output cannot be written: {failure.strerror}", file=sys.stderr)
        code = code if code or told_by_files else WRONG_INPUT
    end_process(code)


def end_process(code: int) -> NoReturn:
    """End this process; one of a process group without taking the interpreter down.

    DDP keeps gloo's threads alive beyond its process group, and the interpreter's end aborts about
    one process in fifty that has them. A group of NCCL is there to the end.
    """
    if "WORLD_SIZE" in os.environ:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def main(arguments: list[str] | None = None) -> int:
    """Run a command and turn its end into an exit code (see :mod:`distvae.errors`)."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    words = [word for word in _without_progress(words) if word != "--debug"]
    if not sys.stderr.isatty():  # read by datasets when it is imported
        os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    if not words or words[0] in ("-h", "--help"):
        print(overview())
        return DONE if words else WRONG_INPUT
    if words[0] == "--version":
        print(distvae.__version__)
        return DONE
    try:
        progress_mode()
        return _run(words)
    except DistvaeError as error:
        if debug:
            _warn_of_traceback()
        elif error.tells if isinstance(error, LostError) else speaks():
            _warn(f"error: {' '.join(str(error).split())}")
        else:
            time.sleep(PATIENCE)  # a launcher ends all once one has: that one shall have spoken
        return error.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception:
        _warn_of_traceback()
        return INTERNAL_FAILURE


def overview() -> str:
    """What commands there are, and what every one takes."""
    width = line_width(shutil.get_terminal_size().columns)
    others = [name for name in COMMANDS if name not in TOOLS]
    below = (textwrap.fill(part, width) for part in BELOW)
    parts = [USAGE, _listed(others), "With a trained model:", _listed(TOOLS), *below]
    return "\n\n".join([*parts, listed(EVERYWHERE, width).rstrip()])


def _listed(names: Iterable[str]) -> str:
    width = line_width(shutil.get_terminal_size().columns)
    return listed({name: COMMANDS[name].about for name in names}, width).rstrip()


def _named(words: list[str]) -> str:
    """The command that the first words name.

    Raises:
        DistvaeError: there is none of this name, or there are several that begin with it.
        SystemExit: help of these was asked for.
    """
    if (both := " ".join(words[:2])) in COMMANDS:
        return both
    if words[0] in COMMANDS:
        return words[0]
    several = [name for name in COMMANDS if name.startswith(f"{words[0]} ")]
    if several and set(words) & {*HELP}:
        print(f"usage: distvae {words[0]} COMMAND [OPTIONS]\n\n{_listed(several)}")
        raise SystemExit(DONE)
    raise DistvaeError(
        f"distvae {words[0]} needs to know what" if several else f"unknown command {words[0]!r}",
        f"expected one of {', '.join(several or COMMANDS)}",
        "" if several else command_meant(words[0], COMMANDS),
    )


def _run(words: list[str]) -> int:
    """Run a command; what the system refuses to do with a file is told as what it is."""
    name = _named(words)
    rest = words[len(name.split()) :]
    for word in words:
        if "\0" in word:
            raise DistvaeError(f"{word!r} holds a NUL byte", "no name of a file or flag can")
    try:
        with reporting_missing_packages(name):
            return OWN[name](rest) if name in OWN else _run_declared(name, rest)
    except OSError as error:
        if error.errno is None or isinstance(error, ConnectionError | TimeoutError):
            raise
        named = [str(name) for name in (error.filename, error.filename2) if name is not None]
        raise DistvaeError(
            f"{shortened(' and '.join(named), 200) or name}: {os.strerror(error.errno)}",
            "expected a file or folder that can be read and written, and room on the disk",
        ) from error


def _run_declared(name: str, words: list[str]) -> int:
    """Run a command by its row of the table."""
    command = COMMANDS[name]
    module = importlib.import_module(command.module)
    config = parse(getattr(module, command.config), words, f"distvae {name}")
    try:
        getattr(module, command.function)(config)
    except DistvaeError as error:
        foreign = _flags_of_training(str(error), config)
        if foreign:
            others = "a flag" if len(foreign) == 1 else "flags"
            error.args = (
                f"{error} {', '.join(foreign)}: {others} of distvae train, not of distvae {name}, "
                "which reads data as the run does.",
            )
        raise
    return DONE


def _flags_of_training(message: str, config: object) -> list[str]:
    """The flags that a message names, which a training has and this command has not."""
    named = re.findall(r"--[a-z][a-z-]*", message)
    if not named or "distvae train" in message:
        return []
    from distvae.config import TrainConfig

    own, training = (
        {name for group in groups_of(whole) for flag in group.flags for name in flag.names}
        for whole in (config, TrainConfig())
    )
    return [name for name in dict.fromkeys(named) if name in training - own]


def _without_progress(words: list[str]) -> list[str]:
    """The words without --quiet and --progress, which hold for this process from now on."""
    rest, left = [], iter(words)
    for word in left:
        name, joined, value = word.partition("=")
        if word == "--quiet":
            os.environ[QUIET] = "1"
        elif name == "--progress":
            os.environ[PROGRESS] = value if joined else next(left, "")
        else:
            rest.append(word)
    return rest


def _warn(line: str) -> None:
    print(shortened(printable(line), LONGEST), file=sys.stderr)


def _warn_of_traceback() -> None:
    for line in traceback.format_exc().splitlines():
        _warn(line)


if __name__ == "__main__":
    run_and_exit()
