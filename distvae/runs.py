"""Finding, naming and describing run folders. No torch."""

import os
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distvae.errors import DistvaeError, nearest
from distvae.reading import read_json
from distvae.records import ModelRecord, RunRecord
from distvae.values import coerce

if TYPE_CHECKING:
    from distvae.config import TrainConfig
    from distvae.domains import Domain

RUNS = Path("runs")
CONFIG = "config.json"
WEIGHTS = "model.safetensors"
CHECKPOINTS = "checkpoints"
METRICS = "metrics.jsonl"
SAMPLES = "samples"
ONNX = "onnx"
_STEP = re.compile(r"step-(\d{8,})")


@dataclass(frozen=True)
class Run:
    """A run folder, and the model directory in it that a command shall use."""

    folder: Path
    """The run itself."""
    model: Path
    """Where model.safetensors is: the run folder or one of its checkpoints."""

    def config(self) -> "TrainConfig":
        """The settings the run was started with."""
        return settings_in(self.folder, self.record().settings)

    @property
    def bare(self) -> bool:
        """Whether it is but a model, saved by ``save_pretrained``, and says nothing of a run."""
        return not isinstance(read_model_record(self.folder), RunRecord)

    def settings(self) -> "TrainConfig":
        """The settings of a run; of a bare model its own, and of its images what it takes.

        What a bare model was trained with is not known: the rest is as it is by default.
        """
        if not self.bare:
            return self.config()
        record = read_model_record(self.folder)
        domain = domain_recorded(self.folder, record)
        return settings_in(self.folder, {**record.model, **domain.settings()})

    def record(self) -> RunRecord:
        """The whole of config.json.

        Raises:
            DistvaeError: it is damaged, or that of a bare model.
        """
        record = read_model_record(self.folder)
        if not isinstance(record, RunRecord):
            raise DistvaeError(
                f"{self.folder} is a model and not a run",
                f"its {CONFIG} lacks settings and data",
                "Name the run folder that it came from.",
            )
        return record


def read_model_record(folder: Path) -> ModelRecord:
    """The config.json of a run, or of a bare model, such as a checkpoint.

    Raises:
        DistvaeError: it is missing or damaged.
    """
    path = folder / CONFIG
    content = read_json(path)
    is_run = isinstance(content, dict) and {"settings", "data"} & content.keys()
    result: ModelRecord = coerce("", content, RunRecord if is_run else ModelRecord, str(path))
    return result


EARLIER = {"bits": 8}
"""Settings that earlier versions did not know, and what they did."""


def settings_in(folder: Path, settings: Mapping[str, Any]) -> "TrainConfig":
    """The settings of a config.json.

    Raises:
        DistvaeError: one is unknown, of another type, out of range or does not fit another.
    """
    from distvae.config import TrainConfig

    try:
        return TrainConfig().updated({**EARLIER, **settings}, CONFIG)
    except DistvaeError as error:
        raise DistvaeError(f"{folder / CONFIG} cannot be used", str(error)) from error


def domain_recorded(folder: Path, record: ModelRecord) -> "Domain":
    """What the examples of the model in a folder are.

    Raises:
        DistvaeError: its record does not say it, or is damaged.
    """
    from distvae.domains import read_domain

    if not record.example:
        raise DistvaeError(
            f"{folder / CONFIG} does not say what the examples are",
            "expected the entry domain",
            "Use another copy.",
        )
    facts = record.example
    if record.domain is None and facts["name"] == "images" and record.binarize is None:
        facts = {**facts, "binarize": _binarization(folder, record)}
    return read_domain(facts, str(folder / CONFIG))


def _binarization(folder: Path, record: ModelRecord) -> str:
    """How a model's inputs are made of stored images, where an earlier version did not write it.

    A checkpoint does not say it; its run does. A model that was saved alone took levels as they
    are.
    """
    run = folder.parent.parent
    if not isinstance(record, RunRecord) and _STEP.fullmatch(folder.name) and is_run(run):
        folder, record = run, read_model_record(run)
        if record.binarize is not None:
            return record.binarize
    settings = record.settings if isinstance(record, RunRecord) else {}
    return settings_in(folder, settings).data.binarize or "none"


def default_folder(config: "TrainConfig", recipe: str | None) -> Path:
    """Where a run goes that was not told: runs/RECIPE, else runs/DATA-MODEL."""
    if recipe is not None:
        return RUNS / Path(recipe).stem
    name = re.sub(r":[0-9a-f]{16}$", "", config.data.data)  # the digest of what was in memory
    data = re.sub(r"[^\w.-]+", "-", Path(name).name).strip("-") or "data"
    return RUNS / f"{data}-{config.model.model}"


def is_run(folder: Path) -> bool:
    """Whether a run was started in this folder."""
    return (folder / CONFIG).is_file()


def newest_run() -> Path:
    """The run in runs/ whose files changed last.

    Raises:
        DistvaeError: there is none.
    """
    found = [path for path in RUNS.glob("*") if is_run(path)] if RUNS.is_dir() else []
    if not found:
        raise DistvaeError(
            f"no run in {RUNS.resolve()}",
            "expected at least one folder with a config.json",
            "Name one, or train one: distvae train",
        )
    return max(found, key=_last_change)


def find_run(name: str | Path | None) -> Run:
    """The run a command was given: a run folder, a checkpoint folder, a name in runs/, or None.

    Raises:
        DistvaeError: there is no such run, or its config.json is damaged.
    """
    folder = newest_run() if name is None else Path(name)
    called = is_run(folder) or _STEP.fullmatch(folder.name)
    if not called and (not folder.exists() or is_run(RUNS / folder)) and (RUNS / folder).exists():
        folder = RUNS / folder  # also beside data of the same name
    if _STEP.fullmatch(folder.name) and is_run(folder.parent.parent):
        read_model_record(folder)
        return Run(folder.parent.parent, folder)
    if not is_run(folder):
        known = [path.name for path in RUNS.glob("*") if is_run(path)] if RUNS.is_dir() else []
        hint = nearest(folder.name, known) or (f"Known runs: {', '.join(known)}." if known else "")
        raise DistvaeError(f"{folder} is not a run", f"expected a folder with a {CONFIG}", hint)
    read_model_record(folder)
    return Run(folder, folder)


def checkpoints(folder: Path) -> list[Path]:
    """Checkpoint folders of a run, oldest first."""
    found = [
        (int(match[1]), path)
        for path in (folder / CHECKPOINTS).glob("step-*")
        if (match := _STEP.fullmatch(path.name))
    ]
    return [path for _, path in sorted(found)]


def go_on(folder: Path) -> str:
    """What to do about a training that was stopped by what is made up for: the next step."""
    where = "its newest checkpoint" if checkpoints(folder) else "its start, as it has no checkpoint"
    return f"Then go on from {where}: distvae train --resume {shlex.quote(str(folder))}"


def checkpoint_path(folder: Path, step: int) -> Path:
    """Where the checkpoint of a step lies."""
    return folder / CHECKPOINTS / f"step-{step:08d}"


def without_folders(name: str) -> str:
    """The last part of a path; a name of data, or a Hub id, as it is."""
    local = name.startswith((os.sep, ".", "~")) or Path(name).exists()
    return Path(name).expanduser().resolve().name if local else name


def _last_change(folder: Path) -> float:
    return max(
        file.stat().st_mtime for file in (folder / METRICS, folder / CONFIG) if file.exists()
    )
