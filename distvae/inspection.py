"""`distvae inspect`: what a run, an ONNX file or a data set is, without training anything."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from distvae.card import NOT_MEASURED, best, last_metrics, numbers_of
from distvae.config import DataConfig
from distvae.errors import DistvaeError
from distvae.figures import ERROR
from distvae.headers import read_header
from distvae.runs import RUNS, Run, checkpoints, find_run, is_run, read_model_record
from distvae.terminal import make_console, progress_bar, table


@dataclass(frozen=True)
class InspectConfig:
    """Show what a run, an ONNX file or a data set is."""

    thing: Annotated[str | None, tyro.conf.Positional] = None
    """A run folder, a checkpoint, an ONNX file, or a data name or path as `--data` takes it; left out: the newest run."""
    image_size: int | None = None
    """For data: side to which images are resized."""


def inspect_thing(config: InspectConfig) -> None:
    """Print a table about a run, an ONNX file or a data set.

    Raises:
        DistvaeError: it is none of them, or an ONNX file that is damaged or not ours.
    """
    name = config.thing
    if name is not None and Path(name).suffix == ".onnx":
        _inspect_onnx(Path(name))
        return
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
    if run.bare:
        _inspect_model(run)
        return
    record = run.record()
    settings, data = record.settings, record.data
    parts = ("model", "network", "prior", "likelihood", "objective", "latent_dim", "binarize")
    rows = [(name, str(settings[name])) for name in parts]
    rows += [
        ("image (C, H, W)", " x ".join(map(str, record.image_shape))),
        ("labels", ", ".join(record.label_names) or "none"),
        ("data", f"{data.source}: {data.train_images} + {data.test_images}"),
        ("parameters", _parameters(run.model)),
        ("versions", ", ".join(f"{name} {number}" for name, number in record.versions.items())),
        ("checkpoints", ", ".join(path.name for path in checkpoints(run.folder)) or "none"),
    ]
    measured = last_metrics(run.folder, "test")
    numbers = numbers_of(measured.values if measured else {})
    rows += [
        (f"test {name}", f"{value:.5g}")
        for name, value in numbers.items()
        if not name.endswith(ERROR) and name not in NOT_MEASURED
    ]
    if (kept := best(run.folder)) is not None and run.model == run.folder:
        rows.append(("weights", str(kept)))
    make_console().print(table(str(run.folder), rows))


def _inspect_model(run: Run) -> None:
    record = read_model_record(run.folder)
    rows = [
        *((name, str(value)) for name, value in record.model.items() if value is not None),
        ("image (C, H, W)", " x ".join(map(str, record.image_shape))),
        ("labels", ", ".join(record.label_names) or "none"),
        ("parameters", _parameters(run.model)),
        ("data and training", "not recorded: a model and not a run"),
    ]
    make_console().print(table(str(run.folder), rows))


def _inspect_onnx(path: Path) -> None:
    from distvae.export import checksum
    from distvae.export.outline import read_outline
    from distvae.export.session import open_graph, read_manifest

    manifest = read_manifest(path)
    session = open_graph(path, manifest.graph, verify=True).session
    outline = read_outline(path)
    files = [path, *(path.parent / name for name in outline.locations)]
    found = outline.metadata.get(checksum.KEY)
    rows = [
        ("graph", f"{manifest.graph}, {manifest.precision}, opset {manifest.opset}"),
        ("file size", f"{sum(file.stat().st_size for file in files):,} bytes"),
        *(("input", _told(value)) for value in session.get_inputs()),
        *(("output", _told(value)) for value in session.get_outputs()),
        ("image (C, H, W)", " x ".join(map(str, manifest.image_shape))),
        ("noise, latent dimensions", f"{manifest.noise_dim}, {manifest.latent_dim}"),
        ("labels", ", ".join(manifest.label_names) or "none"),
        ("network", manifest.network),
        ("prior", manifest.prior),
        ("likelihood", manifest.likelihood),
        ("file (SHA-256)", f"{found[:16]}, matches" if found else "none: of an earlier version"),
        ("weights (SHA-256)", manifest.weights_sha256[:16]),
        ("versions", ", ".join(f"{name} {number}" for name, number in manifest.versions.items())),
        *((f"data {name}", str(value)) for name, value in manifest.data.items()),
        *(
            (f"trained with {name}", str(value))
            for name, value in manifest.settings.items()
            if value is not None
        ),
    ]
    make_console().print(table(str(path), rows))


def _told(value: Any) -> str:
    return f"{value.name}: {value.type.removeprefix('tensor')} {value.shape}"


def _parameters(model: Path) -> str:
    """How many numbers model.safetensors holds, read from its header alone."""
    weights = model / "model.safetensors"
    return f"{read_header(weights).numbers:,}" if weights.exists() else "no weights yet"


def _inspect_data(config: DataConfig) -> None:
    import numpy as np

    from distvae.data.store import open_data

    data = open_data(config, progress_bar)
    rows = [
        ("source", data.source),
        ("image (C, H, W)", " x ".join(map(str, data.image_shape))),
        ("training images", f"{data.train_images:,}"),
        ("test images", f"{len(data.test):,} ({data.test_origin})"),
        ("fingerprint", data.fingerprint),
    ]
    if data.validation is not None:
        told = f"{len(data.validation):,} ({data.validation_origin})"
        rows.insert(-1, ("validation images", told))
    if data.train.labels is not None and data.stream is None:
        counts = np.bincount(data.train.labels, minlength=data.num_labels)
        rows += [
            (f"label {number}: {name}", f"{count:,}")
            for number, (name, count) in enumerate(zip(data.label_names, counts, strict=True))
        ][:50]
    make_console().print(table(data.name, rows))
