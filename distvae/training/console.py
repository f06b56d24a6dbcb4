"""What a run tells the person who started it: live on a terminal, one line an epoch elsewhere."""

import time
from types import TracebackType

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from distvae.terminal import make_console


class TrainingConsole:
    """Progress of epochs and steps with the newest numbers; silent off the main process.

    Args:
        speak: whether this process is the one that talks.
        total_epochs: epochs of the run.
        steps_per_epoch: steps in one of them.
        step: where the run starts or goes on.
        examples: what the examples are called.
    """

    def __init__(
        self,
        speak: bool,
        total_epochs: int,
        steps_per_epoch: int,
        step: int,
        examples: str = "images",
    ) -> None:
        self._examples = examples
        self.console = make_console(quiet=not speak)
        self._live = speak and self.console.is_terminal
        self._steps_per_epoch = steps_per_epoch
        self._started = time.perf_counter()
        self._start_step = step
        self._total_epochs = total_epochs
        self._values: dict[str, float] = {}
        self._progress = Progress(
            TextColumn("[bold]{task.description:<6}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeRemainingColumn(elapsed_when_finished=True),
            TextColumn("{task.fields[told]}"),
            console=self.console,
            disable=not self._live,
        )
        self._epochs: TaskID = self._progress.add_task(
            "epoch", total=total_epochs, completed=step // steps_per_epoch, told=""
        )
        self._steps: TaskID = self._progress.add_task(
            "step", total=steps_per_epoch, completed=step % steps_per_epoch, told=""
        )

    def __enter__(self) -> "TrainingConsole":
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def say(self, text: str, style: str = "") -> None:
        """One line above the progress."""
        self.console.print(text, style=style)

    def step(self, step: int, values: dict[str, float]) -> None:
        """New numbers of training at a step."""
        self._values |= values
        if self._live:
            done = (step - 1) % self._steps_per_epoch + 1
            self._progress.update(self._epochs, completed=step / self._steps_per_epoch)
            self._progress.update(
                self._steps, completed=done, told=describe(self._values, self._examples)
            )

    def epoch(self, epoch: float, values: dict[str, float], split: str) -> None:
        """An epoch's evaluation on a split."""
        figures = describe(values, self._examples)
        if self._live:
            self._progress.update(self._epochs, completed=int(epoch), told=f"{split}  {figures}")
            return
        done = epoch - self._start_step / self._steps_per_epoch
        left = (
            (time.perf_counter() - self._started) / max(done, 1e-9) * (self._total_epochs - epoch)
        )
        trained = describe(self._values, self._examples)
        self.console.print(
            f"epoch {epoch:g}/{self._total_epochs}  {trained}  |  {split}  "
            f"{figures}  |  {left:.0f} s left"
        )


def describe(values: dict[str, float], examples: str) -> str:
    """The numbers worth a glance, in nats per example and examples/s."""
    parts = []
    for name in ("elbo", "distortion", "rate"):
        if name in values:
            parts.append(f"{name} {values[name]:.2f}")
    if "active_units" in values:
        active, all_units = values["active_units"], values["latent_dim"]
        parts.append(f"active {active:.0f}/{all_units:.0f}")
    if "images_per_second" in values:
        parts.append(f"{values['images_per_second']:,.0f} {examples}/s")
    return "  ".join(parts)
