"""How a run is gone on with that was stopped, or is to become longer."""

import dataclasses
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from distvae.card import CARD, write_card
from distvae.checkpoint import Progress, Trained, load_checkpoint, load_newest
from distvae.config import OptimConfig, TrainConfig
from distvae.data.examples import domain_of_data
from distvae.data.image_data import ImageData
from distvae.errors import DistvaeError, MismatchError
from distvae.files import TEMPORARY, reporting_disk_errors
from distvae.headers import stored_checksum
from distvae.models import build_model
from distvae.records import RunRecord
from distvae.runs import WEIGHTS, Run, checkpoint_path, checkpoints
from distvae.schedules import LEAST_SHARE, Parts, gone_on, learning_rate, steps_of, whole
from distvae.tensors import check_weights, checksum, read_tensors, write_tensors
from distvae.terminal import make_console
from distvae.training.engine import Engine
from distvae.training.sharding import fill_parts, whole_state
from distvae.training.transfer import Origin
from distvae.training.world import gathered, on_main, together
from distvae.weightless import weightless

SCRATCH = (f"{TEMPORARY}*", ".tmp??????")
"""What a killed process may leave: our unfinished files, and those of safetensors."""
SCHEDULE = "schedule"
"""Under this key config.json holds the parts of a run."""


@dataclass(frozen=True)
class Earlier:
    """What config.json says of a run that is gone on with."""

    config: TrainConfig
    record: RunRecord

    @classmethod
    def of(cls, folder: Path) -> "Earlier":
        """What is written in a run folder.

        Raises:
            DistvaeError: it is damaged.
        """
        run = Run(folder, folder)
        return cls(run.config(), run.record())

    @property
    def parts(self) -> Parts:
        """Those of the run so far; one where it was written before there were any."""
        if self.record.schedule:
            return self.record.schedule
        optim = self.config.optim
        per_epoch = self.record.data.train_images // optim.batch
        return whole(optim, steps_of(optim, per_epoch), per_epoch)

    @property
    def transferred(self) -> dict[str, Any] | None:
        """What config.json says of the model that the run began with."""
        recorded = self.record.init_from
        return asdict(recorded) if recorded else None

    def origin(self, folder: Path) -> Origin | None:
        """The model that the run began with, where it has to begin with it again.

        Raises:
            DistvaeError: it is gone, or has other weights now.
        """
        recorded = self.record.init_from
        if recorded is None or checkpoints(folder):
            return None
        return Origin.of(recorded.source, recorded.weights_sha256)

    def lengthened(self, config: TrainConfig, train_images: int) -> TrainConfig:
        """The settings with one length: of --epochs and --max-steps the one that was changed."""
        before, now = self.config.optim, config.optim
        epochs, steps = now.epochs != before.epochs, now.max_steps != before.max_steps
        if epochs and not steps:
            now = dataclasses.replace(now, max_steps=None)
        elif steps and not epochs and now.max_steps is not None:
            needed = -(-now.max_steps // max(1, train_images // now.batch))
            now = dataclasses.replace(now, epochs=max(now.passes, needed))
        return dataclasses.replace(config, optim=now)

    def parts_from(
        self, now: OptimConfig, step: int, per_epoch: int, rewind: bool
    ) -> tuple[Parts, list[str]]:
        """The parts of the run from here on, and what to say of them, if anything."""
        total = steps_of(now, per_epoch)
        if rewind:
            parts = whole(now, total, per_epoch)
        else:
            parts = gone_on(self.parts, self.config.optim, now, step, total, per_epoch)
        if parts == self.parts or not step:
            return parts, []
        stood, rate = learning_rate(self.parts, step), parts[-1].rate
        if parts[-1].start < step:
            rate = learning_rate(parts, step)
            return parts, [
                f"the whole schedule is that of {total:,} steps now: the learning rate goes from "
                f"{stood:.3g} to {rate:.3g}"
            ]
        why = "where it stood"
        if rate != stood:
            least = f"{LEAST_SHARE:g} of --learning-rate, as it had fallen to {stood:.3g}"
            why = least if now.peak_rate == self.config.optim.peak_rate else "as you ask"
        return parts, [
            f"steps {step + 1:,} to {total:,} have a schedule of their own: {now.schedule} from a "
            f"learning rate of {rate:.3g}, {why} (--rewind-schedule: that of the whole run)"
        ]

    def comparable(self, now: TrainConfig, progress: Progress) -> tuple[Progress, list[str]]:
        """The progress without a best loss where losses are others now, and what to say of it."""
        same = self.config.objective == now.objective
        if progress.best_loss is None or (same and self.config.data.binarize == now.data.binarize):
            return progress, []
        cleared = dataclasses.replace(
            progress, best_loss=None, best_step=None, evaluations_since_best=0
        )
        said = "the loss is another now and does not compare: the best are looked for from here on"
        return cleared, [said]


def patience_of(progress: Progress, parts: Parts) -> Progress:
    """The progress with which a part begins: evaluations before it count no more."""
    if parts[-1].start and progress.step <= parts[-1].start:
        return dataclasses.replace(progress, evaluations_since_best=0)
    return progress


def recorded(parts: Parts) -> list[dict[str, Any]]:
    """The parts as config.json holds them."""
    return [asdict(part) for part in parts]


@dataclass(frozen=True)
class Found:
    """Where a run stands, as its newest whole checkpoint has it."""

    progress: Progress
    checkpoint: Path | None
    trained: Trained
    """What was loaded, whole."""
    best: Path | None = None
    """The checkpoint with the best weights, where these are kept."""
    lost: bool = False
    """Whether the best weights were to be kept, and are not there."""

    def weights(self) -> dict[str, Tensor]:
        """What model.safetensors shall hold."""
        if self.best is not None and self.best != self.checkpoint:
            return read_tensors(self.best / WEIGHTS)
        return self.trained.usable.state_dict()

    def settle(self, folder: Path) -> None:
        """Say from where the run goes on, and put the folder into the state of that step."""
        step = self.progress.step
        where = f"{self.checkpoint} (step {step})" if self.checkpoint else "the start"
        missing = "" if self.checkpoint else ": no checkpoint yet"
        make_console().print(f"resuming {folder} from {where}{missing}")
        with reporting_disk_errors(f"{folder} cannot be gone on with", folder):
            _clear(folder)
            (folder / CARD).unlink(missing_ok=True)  # it is written when there is more to tell
            if self.checkpoint:
                write_tensors(folder / WEIGHTS, self.weights())

    def complete(self, folder: Path) -> None:
        """Make up for what a kill after the last checkpoint left undone, if it did."""
        with reporting_disk_errors(f"{folder} cannot be completed", folder):
            _clear(folder)
            weights, there = self.weights(), folder / WEIGHTS
            other = stored_checksum(there) != checksum(weights)
            if other and not (self.lost and there.exists()):  # it may be the last copy of the best
                write_tensors(there, weights)
            if not (folder / CARD).exists():
                write_card(folder)


def _clear(folder: Path) -> None:
    for leftover in [found for name in SCRATCH for found in folder.rglob(name)]:
        shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink(missing_ok=True)


def check_architecture(folder: Path, config: TrainConfig, data: ImageData) -> None:
    """Compare the settings with the newest readable checkpoint before a model is allocated.

    Raises:
        MismatchError: they are of another architecture.
    """
    with weightless():
        model = build_model(config.model, domain_of_data(data), (), attributes=data.given)
    for path in reversed(checkpoints(folder)):
        try:
            check_weights(model, path / WEIGHTS)
        except MismatchError:
            raise
        except DistvaeError:  # damaged: told when it is loaded, and the one before is taken
            continue
        return


def load(engine: Engine, folder: Path) -> Found:
    """Fill the engine from the checkpoint that the main process found whole; all call it together.

    Raises:
        DistvaeError: all checkpoints are damaged, or of another architecture.
    """
    accelerator, trained = engine.accelerator, whole_state(engine.trained, "cpu")
    main = accelerator.is_main_process
    progress, path, damaged = together(
        accelerator, lambda: load_newest(folder, trained) if main else (None, None, [])
    )
    for message in damaged:
        make_console().print(f"warning: {message}; going on from the checkpoint before")
    chosen = gathered(accelerator, path and str(path))[0]
    if chosen is None:
        return Found(Progress(), None, trained)
    path = Path(chosen)
    if accelerator.num_processes > 1:
        progress = together(accelerator, lambda: progress or load_checkpoint(path, trained))
        fill_parts(engine.trained, trained)
    assert progress is not None
    if progress.scaler is not None and accelerator.scaler is not None:
        accelerator.scaler.load_state_dict(progress.scaler)
    streams, images = progress.streams or (), engine.train_images
    # only as many processes as then have the same parts
    if len(streams) == accelerator.num_processes:
        images.go_on_from(streams[accelerator.process_index])
    if not engine.config.keeps_best:
        return Found(progress, path, trained)
    if on_main(accelerator, lambda: _has_best(folder, progress)):
        assert progress.best_step is not None
        return Found(progress, path, trained, checkpoint_path(folder, progress.best_step))
    known = dataclasses.replace(progress, best_step=None, best_loss=None)
    return Found(known, path, trained, lost=progress.best_loss is not None)


def _has_best(folder: Path, progress: Progress) -> bool:
    """Whether the best weights so far are there and whole; says so where they are not."""
    if progress.best_loss is None:
        return False
    found = "its best weights so far were not kept"
    if progress.best_step is not None:
        path = checkpoint_path(folder, progress.best_step) / WEIGHTS
        try:
            read_tensors(path)
            return True
        except DistvaeError as error:
            found = str(error).splitlines()[0]
    make_console().print(f"warning: {found}; the best are looked for among those from here on")
    return False
