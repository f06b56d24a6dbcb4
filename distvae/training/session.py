"""One stretch of a run, from start or resume to its end, and what goes wrong in it."""

from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from distvae.checkpoint import Progress
from distvae.errors import DistvaeError
from distvae.runs import checkpoint_path, checkpoints
from distvae.training.console import TrainingConsole
from distvae.training.engine import Engine
from distvae.training.plan import Plan
from distvae.training.stopping import Vote
from distvae.training.trackers import MetricsLog


@dataclass
class Window:
    """What the steps since the last log line found, and the time they took."""

    found: list[Tensor] = field(default_factory=list)
    """Of this process ``[n, M, F]``, for n steps one after the other: F numbers of the loss by
    micro-batch."""
    seconds: float = 0.0


@dataclass
class Session:
    """One stretch of a run, from start or resume to its end."""

    engine: Engine
    progress: Progress
    folder: Path
    log: MetricsLog
    console: TrainingConsole
    vote: Vote
    window: Window = field(default_factory=Window)
    warned: bool = False
    """Whether the collapse of the latents has been told."""
    high: int = 0
    """Steps in a row whose loss lies far above the lowest."""
    ahead: Plan | None = None
    """Of the coming steps, where it was made while the device was busy."""

    @property
    def epoch(self) -> float:
        """Passes over the data so far."""
        return self.progress.step / self.engine.steps_per_epoch


def went_wrong(folder: Path, found: str, terms: str, step: int) -> DistvaeError:
    """What to say of a run in ``folder`` that went wrong at a step, and where it was good last."""
    saved = [path for path in checkpoints(folder) if path < checkpoint_path(folder, step)]
    return DistvaeError(
        found,
        f"{terms}; the last good checkpoint is {saved[-1] if saved else 'none'}",
        "Try a smaller --learning-rate, --clip 1, or --mixed-precision no.",
    )
