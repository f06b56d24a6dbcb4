"""The folder of a run: what may be there before, and what is written at its begin and its end."""

import dataclasses
import json
import platform
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

import distvae
from distvae.card import EVALUATION, TABLE, write_card
from distvae.config import TrainConfig
from distvae.errors import DistvaeError
from distvae.files import LOCK, TEMPORARY, reporting_disk_errors, write_json
from distvae.platform import multiplies
from distvae.reading import verified
from distvae.records import DataRecord
from distvae.runs import CONFIG, Run, find_run, is_run
from distvae.training.continuation import SCHEDULE, recorded
from distvae.training.engine import Engine
from distvae.training.recording import CAPTURE, OFF
from distvae.training.topology import asked
from distvae.training.transfer import INIT_FROM

LIBRARIES = ("torch", "accelerate", "datasets", "safetensors", "numpy")
MAY_DIFFER = ("threads", "cache_dir")
"""Settings that belong to a machine."""


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


def check_separate(folder: Path, origin: str) -> None:
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


def begin(folder: Path, resume: bool, record: dict[str, Any]) -> None:
    """Clear the folder for a new run, and write down what it is."""
    with reporting_disk_errors(f"a run cannot begin in {folder}", folder):
        for path in folder.iterdir():
            if path.name != LOCK and not resume:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        write_json(folder / CONFIG, record)


def note_uncaptured(folder: Path, why: str) -> None:
    """Let config.json say that the steps could not be captured after all."""
    with reporting_disk_errors(f"the record of {folder} cannot be written", folder):
        found = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        record = verified(found, str(folder / CONFIG))
        record[CAPTURE] |= {"taken": OFF, "why": why}
        write_json(folder / CONFIG, record)


def finish(folder: Path, changed: bool) -> None:
    """Write the model card, without what was measured of weights that were ``changed`` since."""
    with reporting_disk_errors(f"the model card of {folder} cannot be written", folder):
        if changed:
            for name in (EVALUATION, TABLE):
                (folder / name).unlink(missing_ok=True)
        write_card(folder)


def facts_of(config: TrainConfig, folder: Path, resume: bool) -> dict[str, Any]:
    """What must be the same in every process of a run."""
    settings = {name: value for name, value in _plain(config).items() if name not in MAY_DIFFER}
    libraries = {f"the version of {name}": version(name) for name in ("torch", "accelerate")}
    own = {"the version of distvae": distvae.__version__, "the strategy": asked().strategy}
    return {**own, **libraries, "the run": str(folder), "resume": resume, **settings}


def record_of(
    data: DataRecord,
    engine: Engine,
    chosen: dict[str, dict[str, str]],
    transferred: dict[str, Any] | None,
) -> dict[str, Any]:
    """config.json: what from_pretrained needs, every setting, versions, origin of the data.

    Args:
        data: where it comes from.
        engine: as it trains.
        chosen: what was decided about its steps, and why.
        transferred: with what a model began that has the weights of another.
    """
    return {
        **engine.trained.model.hub_config(),
        "settings": _plain(engine.config),
        **({INIT_FROM: transferred} if transferred else {}),
        SCHEDULE: recorded(engine.parts),
        **chosen,
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
            **({"library": multiplies()} if engine.accelerator.device.type == "cpu" else {}),
            **({"own_products": True} if engine.own_products else {}),
        },
    }


def _plain(config: TrainConfig) -> dict[str, Any]:
    """Settings as JSON takes them."""
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in config.to_flat().items()
    }
