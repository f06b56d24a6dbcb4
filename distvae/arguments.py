"""From the words of a command line to settings."""

import dataclasses
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

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
from distvae.flags import Alone, given, parse
from distvae.keywords import applied, taken
from distvae.recipes import OF_DATA, launched_with, read_recipe
from distvae.terminal import say, speaks
from distvae.values import RecipeName, RunName

if TYPE_CHECKING:
    from distvae.runs import Run

NEWEST, AUTO = "newest", "auto"
TRAIN, CALL = "distvae train", "distvae.train"


@dataclass(frozen=True)
class Start:
    """How a run begins."""

    config: RecipeName | None = None
    """YAML recipe: a path, or the name of one that comes with distvae, such as `mnist-tutorial`; flags beat it."""
    resume: Annotated[RunName | None, Alone(NEWEST)] = None
    """Go on exactly where a run stopped: `--resume RUN`, or `--resume` alone for --output or the newest run; `--resume auto` goes on if there is a run in the output folder and starts one if not. With more --epochs or --max-steps a run becomes longer: see --schedule."""
    init_from: RunName | None = None
    """Start a new run from the weights of another: a run, a checkpoint, or a folder of save_pretrained. The parts of the model (without --config) and the data (without --data) are taken from there too. What belongs to a label is taken by the label's name, the rest where names and shapes agree; it is told what was left fresh."""
    rewind_schedule: bool = False
    """With --resume: compute the learning rate of every step anew from the whole length, as if the run had been started with it; the rate then jumps back."""


@dataclass(frozen=True)
class Train:
    """Train a variational autoencoder.

    With no flags at all: a conditional VAE on the bundled MNIST, into runs/mnist-cvae.
    """

    EXAMPLES = (
        "distvae train --data photos --image-size 64 --output runs/photos",
        "distvae train --config mnist-tutorial --epochs 5",
        "distvae train --resume runs/photos --epochs 40",
    )
    COMMON = (
        *("data", "config", "label_column", "image_size", "model", "network", "latent_dim"),
        *("prior", "likelihood", "objective", "beta", "epochs", "batch_size", "learning_rate"),
        *("mixed_precision", "compile", "seed", "output", "resume"),
    )

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
    init_from: RunName | None = None
    """The model from whose weights it starts."""


def training(arguments: list[str]) -> Training:
    """What the flags of `distvae train` ask for.

    Raises:
        DistvaeError: they contradict each other, or what they name is not there.
    """
    asked = given(Train, arguments, TRAIN)
    return _training(asked, lambda base: parse(Train, arguments, TRAIN, _on_top_of(base)))


def training_called(keywords: Mapping[str, Any]) -> Training:
    """What the same flags ask for as keywords of a call in Python, by field.

    Raises:
        DistvaeError: as :func:`training`, or a keyword or its value is unknown.
    """
    asked = taken(Train, keywords, CALL)
    return _training(asked, lambda base: applied(_on_top_of(base), asked))


def _training(asked: Mapping[str, Any], parsed_on: Callable[[TrainConfig], Train]) -> Training:
    """What is asked for.

    Args:
        asked: values of flags by field.
        parsed_on: all flags, with those that are asked for on top of a configuration.
    """
    from distvae.runs import Run, default_folder, is_run

    recipe, resume = asked.get("config"), asked.get("resume")
    run = _run_to_resume(asked) if resume not in (None, AUTO) else None
    origin = asked.get("init_from")
    if run is not None:
        base = run.config()
    else:
        recipe = recipe or (OF_DATA.get(asked.get("data", "")) if origin is None else None)
        base = read_recipe(recipe) if recipe else launched_with()
        base = _like(origin, base, asked) if origin else base
    parsed = parsed_on(base)
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
        config = _for_its_batch(TrainConfig(**_concerns(parsed_on(base))), base)
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


def _like(origin: str, base: TrainConfig, asked: Mapping[str, Any]) -> TrainConfig:
    """The settings with the parts of a model, unless a recipe says them, and with its data.

    A likelihood that it had because of its channels is left to those of the new images.
    """
    from distvae.records import RunRecord
    from distvae.runs import domain_recorded, find_run, read_model_record, settings_in

    run = find_run(origin)
    record = read_model_record(run.model)
    if "config" in asked:
        return base
    model = settings_in(run.model, record.model).model
    domain = domain_recorded(run.model, record)
    channels = domain.shape[0] if len(domain.shape) > 1 else None
    if model.likelihood == usual_likelihood(channels, domain.part.name):
        model = dataclasses.replace(model, likelihood=None)
    data = base.data
    if "data" not in asked and isinstance(read_model_record(run.folder), RunRecord):
        data = run.config().data
    return dataclasses.replace(base, model=model, data=data)


def _run_to_resume(asked: Mapping[str, Any]) -> "Run":
    """The run that ``--resume`` names, or ``--output``, or the newest."""
    from distvae.runs import checkpoints, find_run

    named = asked["resume"] != NEWEST
    if "config" in asked:
        raise DistvaeError(
            "--resume and --config were both given",
            "a run goes on with the settings it was started with",
            "Leave one out; single flags may be changed.",
        )
    if named and "output" in asked:
        raise DistvaeError(
            f"--resume {asked['resume']} and --output {asked['output']} were both given",
            "a run goes on in its own folder",
            "Leave --output out.",
        )
    chosen = asked["resume"] if named else asked.get("output")
    run = find_run(chosen)
    if run.model != run.folder and run.model not in checkpoints(run.folder)[-1:]:
        raise DistvaeError(
            f"{run.model} is not the newest checkpoint of its run",
            "resuming goes on from the newest",
            f"Name the run: --resume {shlex.quote(str(run.folder))}",
        )
    if chosen is None and speaks():
        say(f"newest run: {run.folder}")
    return run


def _on_top_of(base: TrainConfig) -> Train:
    """All flags as a configuration has them."""
    return Train(Start(), **_concerns(base))


def _concerns(config: Any) -> dict[str, Any]:
    return {
        concern.name: getattr(config, concern.name) for concern in dataclasses.fields(TrainConfig)
    }
