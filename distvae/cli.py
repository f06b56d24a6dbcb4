"""The command line. Each command imports what it needs when it is called, so `--help` is quick."""

import atexit
import os
import sys
import time
import traceback
from collections.abc import Callable
from typing import NoReturn

import distvae
from distvae.errors import (
    DONE,
    INTERNAL_FAILURE,
    INTERRUPTED,
    WRONG_INPUT,
    DistvaeError,
    LostError,
    nearest,
)
from distvae.flags import parse
from distvae.packages import reporting_missing_packages
from distvae.streams import Streams
from distvae.terminal import PROGRESS, QUIET, is_terminal, progress_mode, say, speaks
from distvae.text import printable, shortened

PATIENCE = 5.0
"""Seconds."""
LONGEST = 4000
"""Characters of a message, of which what was given may be a part."""
FIRST_LINES = """\
distvae COMMAND [flags]        (distvae COMMAND --help teaches)

  train      train a VAE: `distvae train` alone is a conditional VAE on the bundled MNIST
  sample     draw images from a run: `distvae sample --label 7 --count 64`
  evaluate   elbo, active units, and how well generated images obey their label
  fit-prior  fit Gaussians to a run's latents, for `distvae sample --prior fitted`
  export     a run as verified ONNX files: `distvae export --onnx`
  inspect    what a run, an ONNX file or a data set is
  bench      measure the speed of training or sampling on this machine

A RUN is a run folder, one of its checkpoints or an ONNX file; left out, it is the newest run in runs/.
Every command takes --debug (the traceback of an error), --quiet (warnings and errors alone) and
--progress auto|bars|plain|off. `distvae --version` names this version.
"""


BENCH_LINES = """\
distvae bench train    training speed of a recipe, in several variants
distvae bench sample   sampling speed of a run, through torch and through ONNX Runtime

Each takes --help. Let nothing else use the machine meanwhile.
"""


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


def sample(arguments: list[str]) -> int:
    """`distvae sample`."""
    from distvae.sampling import SampleConfig, write_samples

    write_samples(parse(SampleConfig, arguments, "distvae sample"))
    return DONE


def evaluate(arguments: list[str]) -> int:
    """`distvae evaluate`."""
    from distvae.evaluation.evaluate import EvaluateConfig, evaluate_run

    evaluate_run(parse(EvaluateConfig, arguments, "distvae evaluate"))
    return DONE


def fit_prior(arguments: list[str]) -> int:
    """`distvae fit-prior`."""
    from distvae.fitting import FitPriorConfig, fit_prior

    fit_prior(parse(FitPriorConfig, arguments, "distvae fit-prior"))
    return DONE


def export(arguments: list[str]) -> int:
    """`distvae export`."""
    from distvae.export.command import ExportConfig, export_run

    export_run(parse(ExportConfig, arguments, "distvae export"))
    return DONE


def inspect(arguments: list[str]) -> int:
    """`distvae inspect`."""
    from distvae.inspection import InspectConfig, inspect_thing

    inspect_thing(parse(InspectConfig, arguments, "distvae inspect"))
    return DONE


def bench(arguments: list[str]) -> int:
    """`distvae bench`."""
    from distvae.bench.plan import plan
    from distvae.bench.sample import BenchSampleConfig, measure_sampling
    from distvae.bench.train import BenchConfig, measure

    what = arguments[0] if arguments else ""
    if what == "train":
        config = parse(BenchConfig, arguments[1:], "distvae bench train")
        (plan if config.plan else measure)(config)
    elif what == "sample":
        measure_sampling(parse(BenchSampleConfig, arguments[1:], "distvae bench sample"))
    elif what in ("-h", "--help"):
        _say(BENCH_LINES)
    else:
        raise DistvaeError(
            "distvae bench needs to know what",
            "expected `distvae bench train` or `distvae bench sample`",
        )
    return DONE


COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "train": train,
    "sample": sample,
    "evaluate": evaluate,
    "fit-prior": fit_prior,
    "export": export,
    "inspect": inspect,
    "bench": bench,
}


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
        _say(FIRST_LINES)
        return DONE if words else WRONG_INPUT
    if words[0] == "--version":
        _say(distvae.__version__)
        return DONE
    try:
        progress_mode()
        return _run(words)
    except DistvaeError as error:
        if debug:
            _warn_of_traceback()
        elif error.tells if isinstance(error, LostError) else speaks():
            _warn(f"error: {' '.join(str(error).split())}")
        elif not isinstance(error, LostError):
            time.sleep(
                PATIENCE
            )  # a launcher ends all once one has ended: that one shall have spoken
        return error.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception:
        _warn_of_traceback()
        return INTERNAL_FAILURE


def _run(words: list[str]) -> int:
    """Run a command; what the system refuses to do with a file is told as what it is."""
    if words[0] not in COMMANDS:
        raise DistvaeError(
            f"unknown command {words[0]!r}",
            f"expected one of {', '.join(COMMANDS)}",
            nearest(words[0], COMMANDS),
        )
    for word in words:
        if "\0" in word:
            raise DistvaeError(f"{word!r} holds a NUL byte", "no name of a file or flag can")
    try:
        with reporting_missing_packages(words[0]):
            return COMMANDS[words[0]](words[1:])
    except OSError as error:
        if error.errno is None or isinstance(error, ConnectionError | TimeoutError):
            raise
        named = [str(name) for name in (error.filename, error.filename2) if name is not None]
        raise DistvaeError(
            f"{shortened(' and '.join(named), 200) or words[0]}: {os.strerror(error.errno)}",
            "expected a file or folder that can be read and written, and room on the disk",
        ) from error


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


def _say(text: str) -> None:
    print(text)


def _warn(line: str) -> None:
    print(shortened(printable(line), LONGEST), file=sys.stderr)


def _warn_of_traceback() -> None:
    for line in traceback.format_exc().splitlines():
        _warn(line)


if __name__ == "__main__":
    run_and_exit()
