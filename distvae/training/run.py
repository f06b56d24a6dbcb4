"""A training run from its settings to its folder: start, resume, finish."""

import platform
import shutil
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

import distvae
from distvae.card import EVALUATION, write_card
from distvae.checkpoint import Progress, load_newest
from distvae.config import TrainConfig
from distvae.data.store import ImageData, open_data
from distvae.errors import DistvaeError
from distvae.files import TEMPORARY, write_json
from distvae.models import WEIGHTS
from distvae.runs import CONFIG, Run, is_run
from distvae.tensors import write_tensors
from distvae.terminal import progress_bar
from distvae.training.compilation import compiled
from distvae.training.console import TrainingConsole
from distvae.training.engine import Engine, build_accelerator, build_engine
from distvae.training.loop import Sitting, train
from distvae.training.platform import (
    fast_exact_matmul,
    flush_denormals,
    keep_freed_memory,
    use_threads,
)
from distvae.training.stopping import Interrupted, StopRequest
from distvae.training.trackers import MetricsLog, check_trackers

LIBRARIES = ("torch", "accelerate", "datasets", "safetensors", "numpy")


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
        DistvaeError: a setting, the data or the folder is not as it must be; before any work.
    """
    check_folder(folder, config.run.overwrite, resume)
    check_trackers(config.run.tracker)
    flush_denormals()
    keep_freed_memory()
    config = config.updated({"threads": use_threads(config.run.threads)}, "this machine")
    fast_exact_matmul()
    accelerator = build_accelerator(config, str(folder))
    with accelerator.main_process_first():
        data = open_data(config.data, progress_bar if accelerator.is_main_process else None)
    config = config.resolved(data.image_shape[0])
    engine = compiled(build_engine(config, data, accelerator))
    config = engine.config
    progress = _load(engine, folder) if resume else Progress()
    if accelerator.is_main_process:
        if not resume and folder.exists():
            shutil.rmtree(folder)
        write_json(folder / CONFIG, _record(config, data, engine))
    accelerator.wait_for_everyone()
    return _sit(engine, progress, folder, config)


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
    if resume or all(path.name.startswith(TEMPORARY) for path in held):
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


def _load(engine: Engine, folder: Path) -> Progress:
    progress, path, damaged = load_newest(folder, engine.trained)
    if engine.accelerator.is_main_process:
        for message in damaged:
            print(f"warning: {message}; going on from the checkpoint before")  # noqa: T201
        where = f"{path} (step {progress.step})" if progress else "the start: no checkpoint yet"
        print(f"resuming {folder} from {where}")  # noqa: T201
        for leftover in list(folder.rglob(f"{TEMPORARY}*")):
            shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink(missing_ok=True)
    if progress is None:
        return Progress()
    if engine.accelerator.is_main_process:  # a kill may have come between the two writes
        write_tensors(folder / WEIGHTS, engine.trained.usable.state_dict())
    if progress.scaler is not None and engine.accelerator.scaler is not None:
        engine.accelerator.scaler.load_state_dict(progress.scaler)
    return progress


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
    with StopRequest() as stop, MetricsLog(folder, progress.step, accelerator) as log:
        _announce(engine, console)
        sitting = Sitting(engine, progress, folder, log, console, stop)
        try:
            with console:
                train(sitting)
        except Interrupted as interrupted:
            signal_name = str(interrupted)
        if speak:
            if progress.step > first:  # it was measured on other weights
                (folder / EVALUATION).unlink(missing_ok=True)
            write_card(folder)
    return Outcome(folder, signal_name is None, signal_name, progress.seconds)


def _announce(engine: Engine, console: TrainingConsole) -> None:
    model, accelerator = engine.trained.model, engine.accelerator
    parameters = sum(parameter.numel() for parameter in model.parameters())
    channels, height, width = model.image_shape
    console.say(
        f"{type(model).__name__} {model.config.network}, {parameters:,} parameters; "
        f"{len(engine.train_images.images):,} images {channels}x{height}x{width}, "
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
            "train_images": len(data.train),
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
