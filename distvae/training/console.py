"""What a run tells the person who started it: live on a terminal, one line an epoch elsewhere."""

import datetime
import time
from collections.abc import Iterator
from types import TracebackType

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from distvae.figures import OF_LEVEL
from distvae.terminal import OFF, make_console, progress_mode
from distvae.text import rounded

REFRESHES = 8
"""A second."""
GAP = 2
BAR = 8, 24
"""Columns of the bar, at the least and at the most."""
DROPPED = ("levels", "distortion", "rate", "speed", "bar", "elbo", "epoch", "active")
"""In this order, where a terminal is narrow; the count of steps and the time left stay."""


class TrainingConsole:
    """How far a run is, with the newest numbers; silent off the main process.

    Args:
        speak: whether this process is the one that talks.
        total_steps: steps of the run.
        steps_per_epoch: steps in an epoch.
        step: where the run starts or goes on.
        examples: what the examples are called.
    """

    def __init__(
        self,
        speak: bool,
        total_steps: int,
        steps_per_epoch: int,
        step: int,
        examples: str = "images",
    ) -> None:
        self._examples = examples
        self.console = make_console(quiet=not speak)
        self._live = (
            Live(self, console=self.console, refresh_per_second=REFRESHES, transient=True)
            if speak and (self.console.is_terminal or self.console.is_jupyter)
            else None
        )
        self._total, self._steps_per_epoch = total_steps, steps_per_epoch
        self._epochs = -(-total_steps // steps_per_epoch)
        self._step = self._first_step = step
        self._since = time.perf_counter()
        self._values: dict[str, float] = {}

    def __enter__(self) -> "TrainingConsole":
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()
        if kind is None:
            early = "" if self._step == self._total else "stopped early, "
            epoch = rounded(self._step / self._steps_per_epoch)
            self.say(f"done, {early}step {self._step:,} of {self._total:,} (epoch {epoch})")

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """One line that fits the terminal."""
        width = options.max_width
        pieces = fitted(self._pieces(), width)
        line = Table.grid(padding=(0, GAP, 0, 0), pad_edge=False)
        if "bar" in pieces:
            size = min(BAR[1], BAR[0] + width - _width(pieces))
            bar = ProgressBar(total=self._total, completed=self._step, width=size)
        for _ in pieces:
            line.add_column(no_wrap=True)
        line.add_row(*(bar if name == "bar" else text for name, text in pieces.items()))
        yield line

    def _pieces(self) -> dict[str, str]:
        """What could be said of the run now, from left to right."""
        epoch = min(self._epochs, self._step // self._steps_per_epoch + 1)
        return {
            "epoch": f"epoch {epoch}/{self._epochs}",
            "step": f"step {self._step:,}/{self._total:,}",
            "bar": " " * BAR[0],
            "left": self._time_left(),
            **dict(described(self._values, self._examples)),
        }

    def _time_left(self) -> str:
        done = self._step - self._first_step
        if not done:
            return "-:--:-- left"
        seconds = (time.perf_counter() - self._since) / done * (self._total - self._step)
        return f"{datetime.timedelta(seconds=round(seconds))} left"

    def say(self, text: str, style: str = "") -> None:
        """One line above the progress."""
        self.console.print(text, style=style)

    def moved(self, step: int) -> None:
        """So many steps are taken."""
        self._step = step

    def step(self, values: dict[str, float]) -> None:
        """New numbers of training."""
        self._values |= values

    def epoch(self, epoch: float, values: dict[str, float], split: str) -> None:
        """An epoch's evaluation on a split, in a line that stays."""
        if progress_mode() == OFF:
            return
        figures = dict(described(values, self._examples))
        done = f"epoch {rounded(epoch)}/{rounded(self._total / self._steps_per_epoch)}"
        if self._live is not None:
            pieces = {"step": done, "split": split, **figures}
            self.say(joined(fitted(pieces, self.console.width)))
            return
        trained = joined(dict(described(self._values, self._examples)))
        left = f"  |  {self._time_left()}" if self._step < self._total else ""
        self.say(f"{done}  {trained}  |  {split}  {joined(figures)}{left}")


def fitted(pieces: dict[str, str], width: int) -> dict[str, str]:
    """As many pieces of a line as fit into so many columns."""
    kept = dict(pieces)
    for name in DROPPED:
        if _width(kept) > width:
            kept.pop(name, None)
    return kept


def _width(pieces: dict[str, str]) -> int:
    """Columns that pieces take beside each other."""
    return sum(map(len, pieces.values())) + GAP * (len(pieces) - 1)


def joined(pieces: dict[str, str]) -> str:
    """Pieces as a line."""
    return (" " * GAP).join(pieces.values())


def described(values: dict[str, float], examples: str) -> Iterator[tuple[str, str]]:
    """The numbers worth a glance by name, in nats per example and examples/s."""
    for name in ("elbo", "distortion", "rate"):
        if name in values:
            yield name, f"{name} {values[name]:.2f}"
    levels = [value for name, value in values.items() if name.startswith(f"rate{OF_LEVEL}")]
    if levels:
        yield "levels", f"by level {' '.join(f'{value:.1f}' for value in levels)}"
    if "active_units" in values:
        yield "active", f"active {values['active_units']:.0f}/{values['latent_dim']:.0f}"
    if "code_usage" in values:
        yield "active", f"codes {values['code_usage']:.0%} of {values['codes']:,.0f}"
    if "images_per_second" in values:
        yield "speed", f"{values['images_per_second']:,.0f} {examples}/s"
