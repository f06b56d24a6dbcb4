"""What `distvae inspect` tells of a run beside its settings. No torch."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from distvae.card import last_metrics, measured, numbers_of
from distvae.figures import headlines
from distvae.reading import read_lines
from distvae.records import MetricsLine
from distvae.runs import METRICS, Run
from distvae.text import counted, rounded


def trained(run: Run, settings: Mapping[str, Any]) -> list[tuple[str, str]]:
    """When and how long a run was trained; of a checkpoint its step."""
    if run.model != run.folder:
        return [("checkpoint", run.model.name), ("of the run", str(run.folder))]
    log, damaged = run.folder / METRICS, list[str]()
    lines = [line for _, line in read_lines(log, MetricsLine, damaged)] if log.exists() else []
    if not lines:
        return [("trained", "not known: its log is damaged" if damaged else "not yet")]
    date = datetime.fromtimestamp(log.stat().st_mtime).astimezone()
    rows = [
        ("trained", f"{rounded(lines[-1].epoch)} {_asked_epochs(settings)}epochs"),
        ("steps", f"{lines[-1].step:,}{_asked_steps(settings)}"),
        ("last trained", f"{date:%Y-%m-%d %H:%M %Z}"),
    ]
    seconds = _seconds(lines, settings.get("batch_size"))
    return [*rows, ("time in training steps", _duration(seconds))] if seconds else rows


def _asked_epochs(settings: Mapping[str, Any]) -> str:
    """Left out where the run was to end by steps, or an earlier version did not say."""
    epochs = settings.get("epochs")
    return f"of {epochs} " if epochs and not settings.get("max_steps") else ""


def _asked_steps(settings: Mapping[str, Any]) -> str:
    most = settings.get("max_steps")
    return f" of {most:,} (--max-steps)" if most else ""


def _seconds(lines: Sequence[MetricsLine], batch: int | None) -> float:
    """Time in training steps, by the speed of each stretch of the log; 0 where none is known."""
    steps = [line for line in lines if line.split == "train"]
    before, seconds = [0, *(line.step for line in steps)], 0.0
    for start, line in zip(before, steps, strict=False):
        speed = numbers_of(line.values).get("images_per_second", 0.0)
        seconds += max(0, line.step - start) * (batch or 0) / speed if speed else 0.0
    return seconds


def _duration(seconds: float) -> str:
    """A time of two parts at most, which is no more exact than it says.

    >>> _duration(7500.0)
    'about 2 h 5 min'
    """
    if seconds < 1:
        return "less than a second"
    if seconds < 100:
        return f"about {seconds:.0f} s"
    minutes = round(seconds / 60)
    return (
        f"about {minutes} min" if minutes < 100 else f"about {minutes // 60} h {minutes % 60} min"
    )


def size(folder: Path) -> str:
    """Of all files in a folder."""
    files = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    return f"{sum(files) / 1e6:,.1f} MB in {counted(len(files), 'files')}"


def figures_of(folder: Path) -> dict[str, float]:
    """What the run logged of its test split last, and the main figures of an evaluation."""
    line, known = last_metrics(folder, "test"), measured(folder)
    shown = {*(line.values if line else ()), *headlines(known)}
    return {name: value for name, value in known.items() if name in shown}
