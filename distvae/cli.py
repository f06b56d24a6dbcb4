"""The command line. Each command imports what it needs when it is called, so `--help` is quick."""

import atexit
import dataclasses
import os
import re
import shlex
import sys
import time
import traceback
import typing
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import distvae
from distvae.config import (
    DataConfig,
    ModelConfig,
    ObjectiveConfig,
    OptimConfig,
    RunConfig,
    TrainConfig,
)
from distvae.errors import (
    DONE,
    INTERNAL_FAILURE,
    INTERRUPTED,
    WRONG_INPUT,
    DistvaeError,
    LostError,
    nearest,
)

if TYPE_CHECKING:
    from distvae.runs import Run

NEWEST, AUTO = "newest", "auto"
PATIENCE = 5.0
"""Seconds."""
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
Every command takes --debug, which shows the traceback of an error.
"""


BENCH_LINES = """\
distvae bench train    training speed of a recipe, in several variants
distvae bench sample   sampling speed of a run, through torch and through ONNX Runtime

Each takes --help. Let nothing else use the machine meanwhile.
"""


@dataclass(frozen=True)
class Start:
    """How a run begins."""

    config: str | None = None
    """YAML recipe: a path, or a name in launch/recipes such as `mnist-tutorial`; flags beat it."""
    resume: str | None = None
    """Go on exactly where a run stopped: `--resume RUN`, or `--resume` alone for --output or the newest run; `--resume auto` goes on if there is a run in the output folder and starts one if not."""


@dataclass(frozen=True)
class Train:
    """Train a variational autoencoder.

    With no flags at all: a conditional VAE on the bundled MNIST, into runs/mnist-cvae.
    """

    start: Start = field(default_factory=Start)
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    run: RunConfig = field(default_factory=RunConfig)


def train(arguments: list[str]) -> int:
    """`distvae train`."""
    from distvae.runs import Run, default_folder, is_run

    given = _given(arguments)
    recipe, resume = given.get("config"), given.get("resume")
    run = _run_to_resume(given) if resume not in (None, AUTO) else None
    base = run.config() if run else _recipe(recipe) if recipe else _launched_with()
    config = _settings(arguments, base)
    folder = run.folder if run else Path(config.run.output or default_folder(config, recipe))
    if resume == AUTO and config.run.overwrite:
        raise DistvaeError(
            "--resume auto and --overwrite were both given",
            "one goes on with the run that is there, the other deletes it",
            "Leave one out.",
        )
    if resume == AUTO and is_run(folder):
        run = Run(folder, folder)
        config = _settings(arguments, run.config())
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # stack traces for a peer that is gone
    from distvae.training.report import report
    from distvae.training.run import run_training

    outcome = run_training(config, folder, run is not None)
    if _speaks():
        report(outcome)
    return INTERRUPTED if outcome.signal_name == "SIGINT" else DONE


def sample(arguments: list[str]) -> int:
    """`distvae sample`."""
    from distvae.sampling import SampleConfig, write_samples

    write_samples(_parse(SampleConfig, arguments))
    return DONE


def evaluate(arguments: list[str]) -> int:
    """`distvae evaluate`."""
    from distvae.evaluation.evaluate import EvaluateConfig, evaluate_run

    evaluate_run(_parse(EvaluateConfig, arguments))
    return DONE


def fit_prior(arguments: list[str]) -> int:
    """`distvae fit-prior`."""
    from distvae.fitting import FitPriorConfig, fit_prior

    fit_prior(_parse(FitPriorConfig, arguments))
    return DONE


def export(arguments: list[str]) -> int:
    """`distvae export`."""
    from distvae.export.command import ExportConfig, export_run

    export_run(_parse(ExportConfig, arguments))
    return DONE


def inspect(arguments: list[str]) -> int:
    """`distvae inspect`."""
    from distvae.inspection import InspectConfig, inspect_thing

    inspect_thing(_parse(InspectConfig, arguments))
    return DONE


def bench(arguments: list[str]) -> int:
    """`distvae bench`."""
    from distvae.bench.plan import plan
    from distvae.bench.sample import BenchSampleConfig, measure_sampling
    from distvae.bench.train import BenchConfig, measure

    what = arguments[0] if arguments else ""
    if what == "train":
        config = _parse(BenchConfig, arguments[1:])
        (plan if config.plan else measure)(config)
    elif what == "sample":
        measure_sampling(_parse(BenchSampleConfig, arguments[1:]))
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
    end_process(main(arguments))


def end_process(code: int) -> NoReturn:
    """End this process; one among several without taking the interpreter down.

    DDP keeps gloo's threads alive beyond its process group, and the interpreter's end aborts about
    one process in fifty that has them.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def main(arguments: list[str] | None = None) -> int:
    """Run a command and turn its end into an exit code (see :mod:`distvae.errors`)."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    if not sys.stderr.isatty():  # read by datasets when it is imported
        os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    if not words or words[0] in ("-h", "--help"):
        _say(FIRST_LINES)
        return DONE if words else WRONG_INPUT
    if words[0] == "--version":
        _say(distvae.__version__)
        return DONE
    try:
        if words[0] not in COMMANDS:
            raise DistvaeError(
                f"unknown command {words[0]!r}",
                f"expected one of {', '.join(COMMANDS)}",
                nearest(words[0], COMMANDS),
            )
        return COMMANDS[words[0]](words[1:])
    except DistvaeError as error:
        if debug:
            traceback.print_exc()
        elif error.tells if isinstance(error, LostError) else _speaks():
            print("error:", " ".join(str(error).split("\n")), file=sys.stderr)
        elif not isinstance(error, LostError):
            time.sleep(
                PATIENCE
            )  # a launcher ends all once one has ended: that one shall have spoken
        return error.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception:
        traceback.print_exc()
        return INTERNAL_FAILURE


def _parse(kind: Any, arguments: list[str], default: Any = None) -> Any:
    """Flags to a dataclass; `256,128` makes a tuple, `--latent_dim` and `--latent-dim` are one."""
    import tyro

    registry = tyro.constructors.ConstructorRegistry()

    @registry.primitive_rule
    def comma_separated(
        info: tyro.constructors.PrimitiveTypeInfo,
    ) -> tyro.constructors.PrimitiveConstructorSpec[Any] | None:
        if typing.get_origin(info.type) is not tuple:
            return None
        item = typing.get_args(info.type)[0]
        return tyro.constructors.PrimitiveConstructorSpec(
            nargs=1,
            metavar=f"{item.__name__.upper()},...",
            instance_from_str=lambda words: tuple(
                item(word) for word in words[0].strip("()[]").split(",") if word
            ),
            is_instance=lambda value: isinstance(value, tuple),
            str_from_instance=lambda value: [",".join(map(str, value))],
        )

    shape = (tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff)
    with registry:
        return tyro.cli(
            kind,
            args=_with_resume_value(arguments),
            config=shape,
            prog=f"distvae {_hyphenated(kind.__name__.removesuffix('Config'))}",
            **({} if default is None else {"default": default}),
        )


def _hyphenated(name: str) -> str:
    """The command of a class: `FitPrior` is `fit-prior`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "-", name).lower()


def _given(arguments: list[str]) -> dict[str, str]:
    """The few flags that decide what the other flags' defaults are."""
    words = _with_resume_value(arguments)
    found = {}
    for flag in ("config", "resume", "output"):
        for number, word in enumerate(words):
            if word == f"--{flag}" and number + 1 < len(words):
                found[flag] = words[number + 1]
            elif word.startswith(f"--{flag}="):
                found[flag] = word.partition("=")[2]
    return found


def _run_to_resume(given: dict[str, str]) -> "Run":
    """The run that ``--resume`` names, or ``--output``, or the newest."""
    from distvae.runs import checkpoints, find_run

    named = given["resume"] != NEWEST
    if "config" in given:
        raise DistvaeError(
            "--resume and --config were both given",
            "a run goes on with the settings it was started with",
            "Leave one out; single flags may be changed.",
        )
    if named and "output" in given:
        raise DistvaeError(
            f"--resume {given['resume']} and --output {given['output']} were both given",
            "a run goes on in its own folder",
            "Leave --output out.",
        )
    chosen = given["resume"] if named else given.get("output")
    run = find_run(chosen)
    if run.model != run.folder and run.model not in checkpoints(run.folder)[-1:]:
        raise DistvaeError(
            f"{run.model} is not the newest checkpoint of its run",
            "resuming goes on from the newest",
            f"Name the run: --resume {shlex.quote(str(run.folder))}",
        )
    if chosen is None and _speaks():
        _say(f"newest run: {run.folder}")
    return run


def _with_resume_value(arguments: list[str]) -> list[str]:
    """``--resume`` without a RUN means the newest."""
    words = []
    for number, word in enumerate(arguments):
        words.append(word)
        following = arguments[number + 1] if number + 1 < len(arguments) else "--"
        if word == "--resume" and following.startswith("-"):
            words.append(NEWEST)
    return words


def _settings(arguments: list[str], base: TrainConfig) -> TrainConfig:
    """The flags of `distvae train`, on top of ``base``."""
    parsed: Train = _parse(Train, arguments, Train(Start(), **_concerns(base)))
    return TrainConfig(**_concerns(parsed))


def _launched_with() -> TrainConfig:
    """The defaults, but for the precision that `accelerate launch` was told."""
    told = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
    return TrainConfig().updated({"mixed_precision": told}, "accelerate launch")


def _recipe(name: str) -> TrainConfig:
    """Settings from a YAML file of flat names, on top of the defaults."""
    import yaml

    recipes = Path(__file__).resolve().parent.parent / "launch" / "recipes"
    path = Path(name)
    if not path.is_file() and (recipes / f"{name}.yaml").is_file():
        path = recipes / f"{name}.yaml"
    if not path.is_file():
        known = [recipe.stem for recipe in recipes.glob("*.yaml")]
        raise DistvaeError(
            f"recipe {name} is missing",
            f"expected a YAML file or one of {sorted(known)}",
            nearest(path.stem, known),
        )
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DistvaeError(f"recipe {path} cannot be read", str(error)) from error
    if not isinstance(content, dict):
        raise DistvaeError(f"recipe {path} holds no settings", "expected lines of `name: value`")
    return _launched_with().updated(content, str(path))


def _concerns(config: Any) -> dict[str, Any]:
    return {
        concern.name: getattr(config, concern.name) for concern in dataclasses.fields(TrainConfig)
    }


def _speaks() -> bool:
    """Whether this is the process that talks, among those a launcher started."""
    return os.environ.get("RANK", "0") == "0"


def _say(text: str) -> None:
    print(text)


if __name__ == "__main__":
    run_and_exit()
