"""`distvae inspect`: what a run or a data set is, without training anything."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from distvae.card import last_metrics
from distvae.config import DataConfig
from distvae.errors import DistvaeError
from distvae.runs import RUNS, Run, checkpoints, find_run, is_run
from distvae.terminal import make_console, progress_bar, table


@dataclass(frozen=True)
class InspectConfig:
    """Show what a run or a data set is."""

    thing: Annotated[str | None, tyro.conf.Positional] = None
    """A run folder, a checkpoint, or a data name or path as `--data` takes it; left out: the newest run."""
    image_size: int | None = None
    """For data: side to which images are resized."""


def inspect_thing(config: InspectConfig) -> None:
    """Print a table about a run or a data set.

    Raises:
        DistvaeError: it is neither.
    """
    name = config.thing
    looks_like_run = name is None or any(
        is_run(folder) for folder in (Path(name), RUNS / name, Path(name).parent.parent)
    )
    if looks_like_run:
        _inspect_run(find_run(name))
        return
    assert name is not None
    try:
        _inspect_data(DataConfig(data=name, image_size=config.image_size))
    except DistvaeError as error:
        raise DistvaeError(f"{name} is neither a run nor data", str(error)) from error


def _inspect_run(run: Run) -> None:
    record = run.record()
    settings, data = record["settings"], record["data"]
    parts = ("model", "network", "prior", "likelihood", "objective", "latent_dim", "binarize")
    rows = [(name, str(settings[name])) for name in parts]
    rows += [
        ("image (C, H, W)", " x ".join(map(str, record["image_shape"]))),
        ("labels", ", ".join(record["label_names"]) or "none"),
        ("data", f"{data['source']}: {data['train_images']} + {data['test_images']}"),
        ("parameters", f"{_count_parameters(run.model):,}"),
        ("versions", ", ".join(f"{name} {number}" for name, number in record["versions"].items())),
        ("checkpoints", ", ".join(path.name for path in checkpoints(run.folder)) or "none"),
    ]
    measured = last_metrics(run.folder, "test")
    rows += [
        (f"test {name}", f"{value:.5g}")
        for name, value in measured.items()
        if isinstance(value, float | int)
    ]
    make_console().print(table(str(run.folder), rows))


def _count_parameters(model: Path) -> int:
    """Numbers in model.safetensors, read from its header alone; 0 if it is not there yet."""
    from safetensors import safe_open

    if not (model / "model.safetensors").is_file():
        return 0
    with safe_open(str(model / "model.safetensors"), framework="numpy") as file:
        count = 0
        for name in file.keys():  # noqa: SIM118
            size = 1
            for side in file.get_slice(name).get_shape():
                size *= side
            count += size
    return count


def _inspect_data(config: DataConfig) -> None:
    import numpy as np

    from distvae.data.store import open_data

    data = open_data(config, progress_bar)
    rows = [
        ("source", data.source),
        ("image (C, H, W)", " x ".join(map(str, data.image_shape))),
        ("training images", f"{len(data.train):,}"),
        ("test images", f"{len(data.test):,} ({data.test_origin})"),
        ("fingerprint", data.fingerprint),
    ]
    if data.train.labels is not None:
        counts = np.bincount(data.train.labels, minlength=data.num_labels)
        rows += [
            (f"label {number}: {name}", f"{count:,}")
            for number, (name, count) in enumerate(zip(data.label_names, counts, strict=True))
        ][:50]
    make_console().print(table(data.name, rows))
