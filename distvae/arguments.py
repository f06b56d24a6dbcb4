"""From the words of a command line to settings."""

import dataclasses
import itertools
import os
import re
import shlex
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from distvae.config import (
    DataConfig,
    ModelConfig,
    ObjectiveConfig,
    OptimConfig,
    RunConfig,
    TrainConfig,
    usual_likelihood,
)
from distvae.errors import DistvaeError
from distvae.flags import parse_plainly
from distvae.packages import is_installed
from distvae.recipes import OF_DATA, launched_with, read_recipe

if TYPE_CHECKING:
    from distvae.runs import Run

NEWEST, AUTO = "newest", "auto"
DECISIVE = ("config", "resume", "output", "init-from", "data")
"""Flags that decide what the other flags' defaults are."""


@dataclass(frozen=True)
class Start:
    """How a run begins."""

    config: str | None = None
    """YAML recipe: a path, or the name of one that comes with distvae, such as `mnist-tutorial`; flags beat it."""
    resume: str | None = None
    """Go on exactly where a run stopped: `--resume RUN`, or `--resume` alone for --output or the newest run; `--resume auto` goes on if there is a run in the output folder and starts one if not. With more --epochs or --max-steps a run becomes longer: see --schedule."""
    init_from: str | None = None
    """Start a new run from the weights of another: a run, a checkpoint, or a folder of save_pretrained. The parts of the model (without --config) and the data (without --data) are taken from there too. What belongs to a label is taken by the label's name, the rest where names and shapes agree; it is told what was left fresh."""
    rewind_schedule: bool = False
    """With --resume: compute the learning rate of every step anew from the whole length, as if the run had been started with it; the rate then jumps back."""


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


class Training(NamedTuple):
    """A run that is to be started, or to go on."""

    config: TrainConfig
    folder: Path
    resumes: bool
    rewinds: bool = False
    """Whether its schedule is computed anew."""
    init_from: str | None = None
    """The model from whose weights it starts."""


def training(arguments: list[str]) -> Training:
    """What the flags of `distvae train` ask for.

    Raises:
        DistvaeError: they contradict each other, or what they name is not there.
    """
    from distvae.runs import Run, default_folder, is_run

    given = _given(arguments)
    recipe, resume = given.get("config"), given.get("resume")
    run = _run_to_resume(given) if resume not in (None, AUTO) else None
    origin = given.get("init-from")
    if run is not None:
        base = run.config()
    else:
        recipe = recipe or (OF_DATA.get(given.get("data", "")) if origin is None else None)
        base = read_recipe(recipe) if recipe else launched_with()
        base = _like(origin, base, given) if origin else base
    parsed = _parsed(arguments, base)
    config = _for_its_batch(TrainConfig(**_concerns(parsed)), base)
    folder = run.folder if run else Path(config.run.output or default_folder(config, recipe))
    if resume == AUTO and config.run.overwrite:
        raise DistvaeError(
            "--resume auto and --overwrite were both given",
            "one goes on with the run that is there, the other deletes it",
            "Leave one out.",
        )
    if resume == AUTO and is_run(folder):
        run = Run(folder, folder)
        base = run.config()
        config = _for_its_batch(TrainConfig(**_concerns(_parsed(arguments, base))), base)
    if parsed.start.rewind_schedule and resume is None:
        raise DistvaeError(
            "--rewind-schedule was given without --resume",
            "a new run follows one schedule from its start",
            "Leave it out.",
        )
    if origin is not None and resume not in (None, AUTO):
        raise DistvaeError(
            f"--init-from {origin} and --resume were both given",
            "one starts a new run, the other goes on with one",
            "Leave one out.",
        )
    return Training(config, folder, run is not None, parsed.start.rewind_schedule, origin)


def _for_its_batch(config: TrainConfig, base: TrainConfig) -> TrainConfig:
    """The settings with the batch that the learning rate of ``base`` is meant for, if it scales."""
    optim, batch = config.optim, base.optim.batch_size
    if optim.lr_scale == "off" or optim.lr_batch is not None or batch is None:
        return config
    return config.updated({"lr_batch": batch}, "--lr-scale")


def _like(origin: str, base: TrainConfig, given: dict[str, str]) -> TrainConfig:
    """The settings with the parts of a model, unless a recipe says them, and with its data.

    A likelihood that it had because of its channels is left to those of the new images.
    """
    from distvae.records import RunRecord
    from distvae.runs import find_run, read_model_record, settings_in

    run = find_run(origin)
    record = read_model_record(run.model)
    if "config" in given:
        return base
    model = settings_in(run.model, record.model).model
    if model.likelihood == usual_likelihood(record.image_shape[0] if record.image_shape else None):
        model = dataclasses.replace(model, likelihood=None)
    data = base.data
    if "data" not in given and isinstance(read_model_record(run.folder), RunRecord):
        data = run.config().data
    return dataclasses.replace(base, model=model, data=data)


def parse(kind: Any, arguments: list[str], default: Any = None) -> Any:
    """Flags to a dataclass; `256,128` makes a tuple, `--latent_dim` and `--latent-dim` are one."""
    prog = f"distvae {_hyphenated(kind.__name__.removesuffix('Config'))}"
    if default is None and not is_installed("tyro"):
        return parse_plainly(kind, arguments, prog)
    import tyro

    registry = tyro.constructors.ConstructorRegistry()

    @registry.primitive_rule
    def comma_separated(
        info: tyro.constructors.PrimitiveTypeInfo,
    ) -> tyro.constructors.PrimitiveConstructorSpec[Any] | None:
        if typing.get_origin(info.type) is not tuple:
            return None
        item = typing.get_args(info.type)[0]
        item = getattr(item, "__origin__", item)  # without the bounds of a number
        return tyro.constructors.PrimitiveConstructorSpec(
            nargs=1,
            metavar=f"{item.__name__.upper()},...",
            instance_from_str=lambda words: tuple(
                item(word) for word in words[0].strip("()[]").split(",") if word
            ),
            is_instance=lambda value: isinstance(value, tuple),
            str_from_instance=lambda value: [",".join(map(str, value))],
        )

    @registry.primitive_rule
    def on_or_off(
        info: tyro.constructors.PrimitiveTypeInfo,
    ) -> tyro.constructors.PrimitiveConstructorSpec[Any] | None:
        if set(typing.get_args(info.type)) != {bool, type(None)}:
            return None
        return tyro.constructors.PrimitiveConstructorSpec(
            nargs=(0, 1),
            metavar="[on|off]",
            instance_from_str=_on,
            is_instance=lambda value: value is None or isinstance(value, bool),
            str_from_instance=lambda value: [{None: "None", True: "on", False: "off"}[value]],
        )

    shape = (tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff)
    with registry:
        return tyro.cli(
            kind,
            args=_with_resume_value(arguments),
            config=shape,
            prog=prog,
            **({} if default is None else {"default": default}),
        )


def _on(words: list[str]) -> bool | None:
    """A flag alone is on; None is what it is where it is left out."""
    meanings = {"on": True, "true": True, "off": False, "false": False, "none": None}
    word = words[0].lower() if words else "on"
    if word not in meanings:
        raise ValueError(f"expected on or off, found {words[0]}")
    return meanings[word]


def _hyphenated(name: str) -> str:
    """The command of a class: `FitPrior` is `fit-prior`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "-", name).lower()


def _given(arguments: list[str]) -> dict[str, str]:
    """The few flags that decide what the other flags' defaults are."""
    words = [*_with_resume_value(arguments), ""]
    result = {}
    for word, following in itertools.pairwise(words):
        name, joined, value = word.partition("=")
        name = name.removeprefix("--").replace("_", "-")
        if word.startswith("--") and name in DECISIVE:
            result[name] = value if joined else following
    return result


def _run_to_resume(given: dict[str, str]) -> "Run":
    """The run that ``--resume`` names, or ``--output``, or the newest."""
    from distvae.runs import checkpoints, find_run
    from distvae.terminal import make_console

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
    if chosen is None and speaks():
        make_console().print(f"newest run: {run.folder}")
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


def _parsed(arguments: list[str], base: TrainConfig) -> Train:
    """The flags of `distvae train`, on top of ``base``."""
    parsed: Train = parse(Train, arguments, Train(Start(), **_concerns(base)))
    return parsed


def _concerns(config: Any) -> dict[str, Any]:
    return {
        concern.name: getattr(config, concern.name) for concern in dataclasses.fields(TrainConfig)
    }


def speaks() -> bool:
    """Whether this is the process that talks, among those a launcher started."""
    return os.environ.get("RANK", "0") == "0"
