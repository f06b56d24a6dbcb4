"""What `distvae inspect` tells of a run beside its settings. No torch."""

import shlex
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from distvae.card import OF_THE_MACHINE, last_metrics, measured, numbers_of
from distvae.config import unusual
from distvae.figures import headlines
from distvae.reading import read_lines
from distvae.records import MetricsLine
from distvae.runs import METRICS, Run


def trained(run: Run, settings: Mapping[str, Any]) -> list[tuple[str, str]]:
    """When and how long a run was trained; of a checkpoint its step."""
    if run.model != run.folder:
        return [("checkpoint", run.model.name), ("of the run", str(run.folder))]
    log = run.folder / METRICS
    lines = [line for _, line in read_lines(log, MetricsLine, [])] if log.exists() else []
    if not lines:
        return [("trained", "not yet")]
    date = datetime.fromtimestamp(log.stat().st_mtime).astimezone()
    rows = [
        ("trained", f"{lines[-1].epoch:.4g} of {settings['epochs']} epochs"),
        ("steps", f"{lines[-1].step:,}"),
        ("last trained", f"{date:%Y-%m-%d %H:%M %Z}"),
    ]
    steps = [line for line in lines if line.split == "train"]
    before = [0, *(line.step for line in steps)]
    batch, seconds = settings["batch_size"], 0.0
    for start, line in zip(before, steps, strict=False):
        speed = numbers_of(line.values).get("images_per_second", 0.0)
        seconds += max(0, line.step - start) * batch / speed if speed else 0.0
    return [*rows, ("time in training steps", f"about {_duration(seconds)}")] if seconds else rows


def _duration(seconds: float) -> str:
    """A time of two parts at most.

    >>> _duration(3725.0)
    '1 h 2 min'
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


def size(folder: Path) -> str:
    """Of all files in a folder."""
    files = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    return f"{sum(files) / 1e6:,.1f} MB in {len(files):,} files"


def as_flags(settings: Mapping[str, Any]) -> str:
    """The settings that are not the defaults, as `distvae train` takes them, but for its data."""
    other = {*OF_THE_MACHINE, "data"}
    found = {name: it for name, it in unusual(settings).items() if name not in other}
    return " ".join(f"--{name.replace('_', '-')} {_word(it)}" for name, it in found.items())


def _word(value: Any) -> str:
    return shlex.quote(",".join(map(str, value)) if isinstance(value, list) else str(value))


def figures_of(folder: Path) -> dict[str, float]:
    """What the run logged of its test split last, and the main figures of an evaluation."""
    line, known = last_metrics(folder, "test"), measured(folder)
    shown = {*(line.values if line else ()), *headlines(known)}
    return {name: value for name, value in known.items() if name in shown}
