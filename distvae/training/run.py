"""A training run from its settings to its folder: start, resume, finish."""

import contextlib
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
from distvae.checkpoint import Progress, Trained, load_checkpoint, load_newest
from distvae.config import TrainConfig
from distvae.data.batches import StreamedImages
from distvae.data.store import ImageData, open_data
from distvae.errors import DistvaeError
from distvae.files import LOCK, TEMPORARY, disk_told, write_json
from distvae.models import WEIGHTS
from distvae.platform import prepare
from distvae.runs import CONFIG, Run, is_run
from distvae.tensors import write_tensors
from distvae.terminal import progress_bar
from distvae.training.compilation import compiled
from distvae.training.console import TrainingConsole
from distvae.training.engine import Engine, build_accelerator, build_engine
from distvae.training.lock import locked
from distvae.training.loop import Sitting, train
from distvae.training.peers import watched_peers
from distvae.training.sharding import check_sharding, fill_parts, whole_state
from distvae.training.stopping import Interrupted, StopRequest, Vote
from distvae.training.topology import asked, check_asked, check_topology
from distvae.training.trackers import MetricsLog, check_trackers
from distvae.training.world import check_agreement, gathered, on_main, together

LIBRARIES = ("torch", "accelerate", "datasets", "safetensors", "numpy")
MAY_DIFFER = ("threads", "cache_dir")
"""Settings that belong to a machine."""
SCRATCH = (f"{TEMPORARY}*", ".tmp??????")
"""What a killed process may leave: our unfinished files, and those of safetensors."""


@dataclass(frozen=True)
class Outcome:
    """How a sitting ended."""

    folder: Path
    finished: bool
    signal_name: str | None
    seconds: float
    """Time spent training over all sittings, without evaluation."""


def run_training(config: TrainConfig, folder: Path, resume: bool) -> Outcome:
    """Train in ``folder``, from the start or from its newest whole checkpoint.

    Raises:
        DistvaeError: a setting, the data or the folder is not as it must be, another process trains
            there, or the processes were not started alike; before any work.
        LostError: another process of the run was lost.
    """
    check_folder(folder, config.run.overwrite, resume)
    check_trackers(config.run.tracker)
    check_asked()
    facts = _facts(config, folder, resume)
    config = config.updated({"threads": prepare(config.run.threads)}, "this machine")
    accelerator = build_accelerator(config, str(folder))
    check_topology(accelerator)
    check_sharding(config, accelerator.num_processes)
    with watched_peers(accelerator, folder) as names, contextlib.ExitStack() as held:
        check_agreement(accelerator, facts, names)
        on_main(accelerator, lambda: held.enter_context(locked(folder)))
        # another run may have begun there before this one held it
        on_main(accelerator, lambda: check_folder(folder, config.run.overwrite, resume))
        data = _open(config, accelerator)
        check_agreement(accelerator, {"the data's fingerprint": data.fingerprint}, names)
        engine = build_engine(config.resolved(data.image_shape[0]), data, accelerator)
        engine = compiled(engine)
        progress = _load(engine, folder) if resume else Progress()
        on_main(accelerator, lambda: _begin(folder, resume, _record(engine.config, data, engine)))
        return _sit(engine, progress, folder, engine.config)


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


def _facts(config: TrainConfig, folder: Path, resume: bool) -> dict[str, Any]:
    """What must be the same in every process of a run."""
    settings = {name: told for name, told in _plain(config).items() if name not in MAY_DIFFER}
    libraries = {f"the version of {name}": version(name) for name in ("torch", "accelerate")}
    own = {"the version of distvae": distvae.__version__, "the strategy": asked().strategy}
    return {**own, **libraries, "the run": str(folder), "resume": resume, **settings}


def _open(config: TrainConfig, accelerator: Accelerator) -> ImageData:
    """The images; the main process comes first, as it may have to decode them."""
    main = accelerator.is_main_process
    first = together(accelerator, lambda: open_data(config.data, progress_bar) if main else None)
    return together(accelerator, lambda: first or open_data(config.data))


def _begin(folder: Path, resume: bool, record: dict[str, Any]) -> None:
    """Clear the folder for a new run, and write down what it is."""
    with disk_told(f"a run cannot begin in {folder}", folder):
        for path in folder.iterdir():
            if path.name != LOCK and not resume:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        write_json(folder / CONFIG, record)


def _load(engine: Engine, folder: Path) -> Progress:
    """Every process loads the checkpoint that the main one found whole."""
    accelerator, trained = engine.accelerator, whole_state(engine.trained, "cpu")
    main = accelerator.is_main_process
    progress, path, damaged = together(
        accelerator, lambda: load_newest(folder, trained) if main else (None, None, [])
    )
    chosen = gathered(accelerator, path and str(path))[0]
    if chosen is not None and accelerator.num_processes > 1:
        progress = together(accelerator, lambda: progress or load_checkpoint(Path(chosen), trained))
        fill_parts(engine.trained, trained)
    on_main(accelerator, lambda: _tell_and_tidy(folder, trained, progress, path, damaged))
    if progress is None:
        return Progress()
    if progress.scaler is not None and engine.accelerator.scaler is not None:
        engine.accelerator.scaler.load_state_dict(progress.scaler)
    streams, images = progress.streams or [], engine.train_images
    # only as many processes as then have the same parts
    if isinstance(images, StreamedImages) and len(streams) == accelerator.num_processes:
        images.go_on_from(streams[accelerator.process_index])
    return progress


def _tell_and_tidy(
    folder: Path, trained: Trained, progress: Progress | None, path: Path | None, damaged: list[str]
) -> None:
    for message in damaged:
        print(f"warning: {message}; going on from the checkpoint before")  # noqa: T201
    where = f"{path} (step {progress.step})" if progress else "the start: no checkpoint yet"
    print(f"resuming {folder} from {where}")  # noqa: T201
    with disk_told(f"{folder} cannot be gone on with", folder):
        for leftover in [found for name in SCRATCH for found in folder.rglob(name)]:
            shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink(missing_ok=True)
        if progress is not None:  # a kill may have come between the two writes
            write_tensors(folder / WEIGHTS, trained.usable.state_dict())


def _sit(engine: Engine, progress: Progress, folder: Path, config: TrainConfig) -> Outcome:
    accelerator = engine.accelerator
    told = {
        name: value if isinstance(value, bool | int | float) else str(value)
        for name, value in config.to_flat().items()
    }
    accelerator.init_trackers("distvae", told)  # not every tracker takes lists or nothing
    epochs = -(-engine.total_steps // engine.steps_per_epoch)
    speak = accelerator.is_main_process
    console = TrainingConsole(speak, epochs, engine.steps_per_epoch, progress.step)
    signal_name, first = None, progress.step
    log_of = functools.partial(MetricsLog, folder, progress.step, accelerator)
    with StopRequest() as stop, together(accelerator, log_of) as log:
        _announce(engine, console)
        vote = Vote(accelerator, stop, progress.step)
        sitting = Sitting(engine, progress, folder, log, console, vote)
        try:
            with console:
                train(sitting)
        except Interrupted as interrupted:
            signal_name = str(interrupted)
        on_main(accelerator, lambda: _finish(folder, progress.step > first))
    return Outcome(folder, signal_name is None, signal_name, progress.seconds)


def _finish(folder: Path, went_on: bool) -> None:
    with disk_told(f"the model card of {folder} cannot be written", folder):
        if went_on:  # it was measured on other weights
            for name in (EVALUATION, TABLE):
                (folder / name).unlink(missing_ok=True)
        write_card(folder)


def _announce(engine: Engine, console: TrainingConsole) -> None:
    model, accelerator = engine.trained.model, engine.accelerator
    parameters = sum(parameter.numel() for parameter in model.parameters())
    channels, height, width = model.image_shape
    console.say(
        f"{type(model).__name__} {model.config.network}, {parameters:,} parameters; "
        f"{len(engine.train_images):,} images {channels}x{height}x{width}, "
        f"{len(model.label_names)} labels; {accelerator.device.type} x "
        f"{accelerator.num_processes}, precision {accelerator.mixed_precision}; "
        f"{engine.total_steps:,} steps of {engine.config.optim.batch_size} images"
    )


def _record(config: TrainConfig, data: ImageData, engine: Engine) -> dict[str, Any]:
    """config.json: what from_pretrained needs, every setting, versions, origin of the data."""
    return {
        **engine.trained.model.hub_config(),
        "settings": _plain(config),
        "versions": {
            "distvae": distvae.__version__,
            "python": platform.python_version(),
            **{name: version(name) for name in LIBRARIES},
        },
        "data": {
            "source": data.source,
            "fingerprint": data.fingerprint,
            "train_images": data.train_images,
            "test_images": len(data.test),
            "test_split": data.test_origin,
        },
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
