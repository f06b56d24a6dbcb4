"""A training run from its settings to its folder: start, resume, finish."""

import contextlib
import dataclasses
import functools
import platform
import shutil
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

import distvae
from distvae.card import EVALUATION, TABLE, write_card
from distvae.checkpoint import Progress
from distvae.config import TrainConfig
from distvae.data.provenance import data_record
from distvae.data.store import ImageData
from distvae.data.validation import AUTO
from distvae.errors import DistvaeError
from distvae.files import LOCK, TEMPORARY, disk_told, write_json
from distvae.platform import prepare
from distvae.records import DataRecord
from distvae.runs import CONFIG, Run, find_run, is_run
from distvae.training.compilation import compiled
from distvae.training.console import TrainingConsole
from distvae.training.continuation import SCHEDULE, Earlier, load, patience_of, recorded
from distvae.training.engine import Engine, build_accelerator, build_engine
from distvae.training.judging import stopped_early
from distvae.training.lock import locked
from distvae.training.loop import train
from distvae.training.opening import open_together
from distvae.training.peers import watched_peers
from distvae.training.precision import PRECISION, Decision, decided
from distvae.training.sharding import check_sharding
from distvae.training.sitting import Sitting
from distvae.training.stopping import Interrupted, StopRequest, Vote
from distvae.training.topology import asked, check_asked, check_topology
from distvae.training.trackers import MetricsLog, check_trackers
from distvae.training.transfer import INIT_FROM, Origin
from distvae.training.world import check_agreement, on_main, together

LIBRARIES = ("torch", "accelerate", "datasets", "safetensors", "numpy")
MAY_DIFFER = ("threads", "cache_dir")
"""Settings that belong to a machine."""


@dataclass(frozen=True)
class Outcome:
    """How a sitting ended."""

    folder: Path
    progress: Progress
    total_steps: int
    steps_per_epoch: int
    stopped_early: bool
    signal_name: str | None = None
    """That of the signal that interrupted it, if one did."""
    idle: bool = False
    """Whether the run was finished before."""

    @property
    def finished(self) -> bool:
        """Whether the run is done."""
        return self.signal_name is None


def _outcome(
    folder: Path, engine: Engine, progress: Progress, signal_name: str | None, idle: bool = False
) -> Outcome:
    early = stopped_early(engine, progress)
    lengths = engine.total_steps, engine.steps_per_epoch
    return Outcome(folder, progress, *lengths, early, signal_name, idle)


def run_training(
    config: TrainConfig,
    folder: Path,
    resume: bool,
    rewind: bool = False,
    init_from: str | None = None,
) -> Outcome:
    """Train in ``folder``, from the start or from its newest whole checkpoint.

    Args:
        config: all settings.
        folder: of the run.
        resume: whether to go on with the run that is there.
        rewind: whether one that gets another length follows one schedule as a whole.
        init_from: the model from whose weights a new run starts; left out: from random ones.

    Raises:
        DistvaeError: a setting, the data or the folder is not as it must be, another process trains
            there, or the processes were not started alike; before any work.
        LostError: another process of the run was lost.
    """
    check_folder(folder, config.run.overwrite, resume)
    if init_from is not None and not resume:
        check_apart(folder, init_from)
    check_trackers(config.run.tracker)
    check_asked()
    config = config if resume else judged_apart(config)
    facts = _facts(config, folder, resume)
    facts |= {"--rewind-schedule": rewind, "--init-from": init_from}
    config = config.updated({"threads": prepare(config.run.threads)}, "this machine")
    accelerator = build_accelerator(config, str(folder))
    check_topology(accelerator)
    check_sharding(config, accelerator.num_processes)
    with watched_peers(accelerator, folder) as names, contextlib.ExitStack() as held:
        check_agreement(accelerator, facts, names)
        on_main(accelerator, lambda: held.enter_context(locked(folder)))
        # another run may have begun there before this one held it
        on_main(accelerator, lambda: check_folder(folder, config.run.overwrite, resume))
        earlier = together(accelerator, lambda: Earlier.of(folder)) if resume else None
        known = earlier.record if earlier else None
        data = open_together(config, accelerator, folder, known)
        check_agreement(accelerator, {"the data's fingerprint": data.fingerprint}, names)
        config = config.resolved(data.image_shape[0])
        if earlier is not None:
            return _go_on(config, data, accelerator, folder, earlier, rewind)
        origin = together(accelerator, lambda: Origin.of(init_from)) if init_from else None
        engine, precision = decided(build_engine(config, data, accelerator, origin))
        engine = compiled(engine)
        transfer = origin.transfer if origin else None
        moved = transfer.record() if transfer else None
        record = _record(data_record(data, folder), engine, precision, moved)
        on_main(accelerator, lambda: _begin(folder, False, record))
        told = _announcement(data, engine, transfer.told() if transfer else "")
        return _sit(engine, Progress(), folder, precision, told)


def _go_on(
    config: TrainConfig,
    data: ImageData,
    accelerator: Accelerator,
    folder: Path,
    earlier: Earlier,
    rewind: bool,
) -> Outcome:
    """Go on from the newest whole checkpoint, or say that there is nothing to go on with."""
    config = earlier.lengthened(config, data.train_images)
    origin = together(accelerator, lambda: earlier.origin(folder))
    engine = build_engine(config, data, accelerator, origin)
    found = load(engine, folder)
    step = found.progress.step
    parts, told = earlier.parts_from(engine.config.optim, step, engine.steps_per_epoch, rewind)
    engine = dataclasses.replace(engine, parts=parts)
    progress = patience_of(found.progress, parts)
    if step >= engine.total_steps or stopped_early(engine, progress):
        on_main(accelerator, lambda: found.complete(folder))
        return _outcome(folder, engine, progress, None, idle=True)
    on_main(accelerator, lambda: found.settle(folder))
    engine, precision = decided(engine, earlier.record.precision)
    engine = compiled(engine)
    same = data_record(data, folder, earlier.record.data)
    record = _record(same, engine, precision, earlier.transferred)
    on_main(accelerator, lambda: _begin(folder, True, record))
    return _sit(engine, progress, folder, precision, _announcement(data, engine, told))


def judged_apart(config: TrainConfig) -> TrainConfig:
    """The settings with a validation part, where the best weights of a new run are kept."""
    if not config.keeps_best or config.data.split_validation is not None:
        return config
    return config.updated({"split_validation": AUTO}, "--keep-best")


def check_folder(folder: Path, overwrite: bool, resume: bool) -> None:
    """Refuse a folder that holds something else.

    Raises:
        DistvaeError: it holds a run and neither --resume nor --overwrite was given, or files that
            are no run.
    """
    if folder.exists() and not folder.is_dir():
        raise DistvaeError(
            f"--output {folder} is a file", "expected a new folder", "Take another --output."
        )
    held = folder.iterdir() if folder.exists() else ()
    if resume or all(path.name.startswith((TEMPORARY, LOCK)) for path in held):
        return
    if not is_run(folder):
        raise DistvaeError(
            f"{folder} is not empty and holds no run",
            "expected a new folder",
            "Take another --output.",
        )
    if not overwrite:
        raise DistvaeError(
            f"{folder} already holds a run",
            "a new run needs a folder of its own",
            "Go on with it by --resume, replace it by --overwrite, or take another --output.",
        )
    Run(folder, folder).record()  # only a run is ever deleted, not any folder with a config.json


def check_apart(folder: Path, origin: str) -> None:
    """Refuse to replace the very run that a new one starts from.

    Raises:
        DistvaeError: it is that, or there is no such run.
    """
    if find_run(origin).folder.resolve() == folder.resolve():
        raise DistvaeError(
            f"--init-from {origin} lies in the folder of the new run, {folder}",
            "a new run needs a folder of its own",
            "Take another --output.",
        )


def _facts(config: TrainConfig, folder: Path, resume: bool) -> dict[str, Any]:
    """What must be the same in every process of a run."""
    settings = {name: told for name, told in _plain(config).items() if name not in MAY_DIFFER}
    libraries = {f"the version of {name}": version(name) for name in ("torch", "accelerate")}
    own = {"the version of distvae": distvae.__version__, "the strategy": asked().strategy}
    return {**own, **libraries, "the run": str(folder), "resume": resume, **settings}


def _begin(folder: Path, resume: bool, record: dict[str, Any]) -> None:
    """Clear the folder for a new run, and write down what it is."""
    with disk_told(f"a run cannot begin in {folder}", folder):
        for path in folder.iterdir():
            if path.name != LOCK and not resume:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        write_json(folder / CONFIG, record)


def _sit(
    engine: Engine, progress: Progress, folder: Path, precision: Decision, announcement: str = ""
) -> Outcome:
    accelerator = engine.accelerator
    told = {
        name: value if isinstance(value, bool | int | float) else str(value)
        for name, value in engine.config.to_flat().items()
    }
    accelerator.init_trackers("distvae", told)  # not every tracker takes lists or nothing
    epochs = -(-engine.total_steps // engine.steps_per_epoch)
    speak = accelerator.is_main_process
    console = TrainingConsole(speak, epochs, engine.steps_per_epoch, progress.step)
    signal_name, first = None, progress.step
    log_of = functools.partial(MetricsLog, folder, progress.step, accelerator)
    with StopRequest() as stop, together(accelerator, log_of) as log:
        _announce(engine, precision, console)
        if announcement:
            console.say(announcement)
        vote = Vote(accelerator, stop, progress.step)
        sitting = Sitting(engine, progress, folder, log, console, vote)
        try:
            with console:
                train(sitting)
        except Interrupted as interrupted:
            signal_name = str(interrupted)
        on_main(accelerator, lambda: _finish(folder, progress.step > first))
    return _outcome(folder, engine, progress, signal_name)


def _finish(folder: Path, went_on: bool) -> None:
    with disk_told(f"the model card of {folder} cannot be written", folder):
        if went_on:  # it was measured on other weights
            for name in (EVALUATION, TABLE):
                (folder / name).unlink(missing_ok=True)
        write_card(folder)


def _announce(engine: Engine, precision: Decision, console: TrainingConsole) -> None:
    model, accelerator = engine.trained.model, engine.accelerator
    parameters = sum(parameter.numel() for parameter in model.parameters())
    channels, height, width = model.image_shape
    console.say(
        f"{type(model).__name__} {model.config.network}, {parameters:,} parameters; "
        f"{len(engine.train_images):,} images {channels}x{height}x{width}, "
        f"{len(model.label_names)} labels; {accelerator.device.type} x "
        f"{accelerator.num_processes}, precision {precision}; "
        f"{engine.total_steps:,} steps of {engine.config.optim.batch_size} images"
    )
    if precision.warning:
        console.say(precision.warning, style="yellow")


def _announcement(data: ImageData, engine: Engine, told: str) -> str:
    """What is told beside the first line: by which images weights are judged, and ``told``."""
    judged = ""
    if data.validation is not None:
        judged = (
            f"weights are judged by {len(data.validation):,} validation images "
            f"({data.validation_origin}); the test split is measured at the end"
        )
    elif engine.config.keeps_best:
        judged = (
            "weights are judged by the test split, on which the best then look better than they "
            "are: the run was begun without a validation part"
        )
    return "\n".join(line for line in (judged, told) if line)


def _record(
    data: DataRecord,
    engine: Engine,
    precision: Decision,
    transferred: dict[str, Any] | None,
) -> dict[str, Any]:
    """config.json: what from_pretrained needs, every setting, versions, origin of the data."""
    return {
        **engine.trained.model.hub_config(),
        "settings": _plain(engine.config),
        **({INIT_FROM: transferred} if transferred else {}),
        SCHEDULE: recorded(engine.parts),
        PRECISION: precision.recorded(),
        "versions": {
            "distvae": distvae.__version__,
            "python": platform.python_version(),
            **{name: version(name) for name in LIBRARIES},
        },
        "data": dataclasses.asdict(data),
        "world": {
            "device": engine.accelerator.device.type,
            "processes": engine.accelerator.num_processes,
            "threads": torch.get_num_threads(),
        },
    }


def _plain(config: TrainConfig) -> dict[str, Any]:
    """Settings as JSON takes them."""
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in config.to_flat().items()
    }
