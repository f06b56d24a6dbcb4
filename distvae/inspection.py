"""`distvae inspect`: what a run, an ONNX file or a data set is, without training anything."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from distvae.attributes import Attribute, is_label, label_attribute, values_of
from distvae.card import best, check_log
from distvae.config import DataConfig, refuse_out_of_range
from distvae.errors import DistvaeError
from distvae.figures import rows_of
from distvae.flags import Positional
from distvae.headers import read_header
from distvae.run_facts import figures_of, size, trained
from distvae.runs import (
    RUNS,
    Run,
    checkpoints,
    domain_recorded,
    find_run,
    is_run,
    read_model_record,
)
from distvae.terminal import make_console, progress_bar, table
from distvae.text import counted
from distvae.told_settings import unusual_flags
from distvae.values import FileName, ThingName

if TYPE_CHECKING:
    from distvae.data.image_data import ImageData
    from distvae.export.manifest import Manifest

MOST_LABELS = 100
"""Rows of the table of labels."""
NOT_RECORDED = "not recorded"
"""What a run of an earlier version does not say."""
PARTS = ("network", "prior", "likelihood", "objective")


@dataclass(frozen=True)
class InspectConfig:
    """Show what a run, an ONNX file or a data set is."""

    EXAMPLES = (
        "distvae inspect photos --image-size 64",
        "distvae inspect runs/mnist-cvae",
        "distvae inspect runs/mnist-cvae/onnx/decoder.onnx",
    )

    thing: Annotated[ThingName | None, Positional] = None
    """A run folder, a checkpoint, an ONNX file, or a data name or path as `--data` takes it, to see just what `distvae train` would with the same flags; left out: --data if that is given, else the newest run."""
    output: FileName | None = None
    """For data: PNG file for a sheet of examples; left out: NAME-examples.png in the folder of decoded data."""
    data: DataConfig = field(default_factory=DataConfig)


def inspect_thing(config: InspectConfig) -> None:
    """Print a table about a run, an ONNX file or a data set.

    Raises:
        DistvaeError: it is none of them, or an ONNX file that is damaged or not ours.
    """
    name = config.thing
    if name is None and config.data != DataConfig():
        _inspect_data(_opened(config.data), config)
        return
    if name is not None and Path(name).suffix == ".onnx":
        _inspect_onnx(Path(name))
        return
    looks_like_run = name is None or any(
        is_run(folder) for folder in (Path(name), Path(name).parent.parent)
    )
    if name is not None and not Path(name).exists():  # data of the name of its run goes first
        looks_like_run |= is_run(RUNS / name)
    if looks_like_run:
        _inspect_run(find_run(name))
        return
    assert name is not None
    try:
        data = _opened(dataclasses.replace(config.data, data=name))
    except DistvaeError as error:
        if Path(name).exists():
            raise
        raise DistvaeError(f"{name} is neither a run nor data", str(error)) from error
    _inspect_data(data, config)


def _inspect_run(run: Run) -> None:
    if run.bare:
        _inspect_model(run)
        return
    record = run.record()
    settings, data = record.settings, record.data
    domain = domain_recorded(run.folder, record)
    check_log(run.folder)
    others = f" and {data.validation_images:,} validation" if data.validation_images else ""
    rows = [
        ("model", _kind(str(settings.get("model", NOT_RECORDED)))),
        *((name, str(settings.get(name, NOT_RECORDED))) for name in PARTS),
        ("latents", str(settings.get("latent_dim", NOT_RECORDED))),
        domain.title,
        *_given(record.given),
        ("data", data.source),
        (domain.examples, f"{data.train_images:,} training, {data.test_images:,} test{others}"),
        *trained(run, settings),
        ("parameters", _parameters(run.model)),
        ("size of the folder", size(run.folder)),
        ("settings beside the defaults", " ".join(unusual_flags(settings, ("data",)))),
        ("versions", ", ".join(f"{name} {number}" for name, number in record.versions.items())),
        ("checkpoints", ", ".join(path.name for path in checkpoints(run.folder)) or "none"),
    ]
    whole = run.model == run.folder
    if (kept := best(run.folder)) is not None and whole:
        rows.append(("weights", str(kept)))
    console = make_console()
    console.print(table(str(run.model), rows))
    if whole and (figures := figures_of(run.folder)):
        title = f"on {counted(data.test_images, f'test {domain.examples}')}"
        console.print(table(title, rows_of(figures, domain.examples)))


def _kind(model: str) -> str:
    return {"vae": "VAE (vae)", "cvae": "conditional VAE (cvae)"}.get(model, model)


def _given(attributes: Sequence[Attribute]) -> list[tuple[str, str]]:
    """What examples are given, a row for each attribute."""
    if not attributes or is_label(attributes):
        return [("labels", values_of(attributes[0]) if attributes else "none")]
    return [(f"given {each.name}", values_of(each)) for each in attributes]


def _inspect_model(run: Run) -> None:
    record = read_model_record(run.folder)
    rows = [
        *((name, str(value)) for name, value in record.model.items() if value is not None),
        domain_recorded(run.folder, record).title,
        *_given(record.given),
        ("parameters", _parameters(run.model)),
        ("data and training", "not recorded: a model and not a run"),
    ]
    make_console().print(table(str(run.folder), rows))


def _inspect_onnx(path: Path) -> None:
    from distvae.export import checksum
    from distvae.export.manifest import DECODER
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
        *(("input", _shown(value)) for value in session.get_inputs()),
        *(("output", _shown(value)) for value in session.get_outputs()),
        manifest.domain.title,
        ("latents", str(manifest.latent_dim)),
        *_given(manifest.attributes or label_attribute(manifest.label_names)),
        ("network", manifest.network),
        *(_of_decoder(manifest) if manifest.graph == DECODER else []),
        *_of_any_size(manifest),
        ("file (SHA-256)", f"{found[:16]}, matches" if found else "none: of an earlier version"),
        ("weights (SHA-256)", manifest.weights_sha256[:16]),
        ("versions", ", ".join(f"{name} {number}" for name, number in manifest.versions.items())),
        *((f"data: {name}", str(value)) for name, value in manifest.data.items()),
    ]
    if flags := " ".join(unusual_flags(manifest.settings, ("data",))):
        rows.append(("settings beside the defaults", flags))
    make_console().print(table(str(path), rows))


def _of_decoder(manifest: "Manifest") -> list[tuple[str, str]]:
    """What says nothing of an encoder."""
    return [
        ("prior", manifest.prior),
        ("numbers of noise for one", str(manifest.noise_dim)),
        ("likelihood", manifest.likelihood),
    ]


def _of_any_size(manifest: "Manifest") -> list[tuple[str, str]]:
    """What takes any sides has to be known of by whoever computes in tiles."""
    if (found := manifest.any_size) is None:
        return []
    seen = "all" if found.reach is None else f"{found.reach} on either side"
    return [("pixels of a place", f"{found.factor}, of which it sees {seen}")]


def _shown(value: Any) -> str:
    return f"{value.name}: {value.type.removeprefix('tensor')} {value.shape}"


def _parameters(model: Path) -> str:
    """How many numbers model.safetensors holds, read from its header alone."""
    weights = model / "model.safetensors"
    there = weights.exists() or weights.is_symlink()
    return f"{read_header(weights).numbers:,}" if there else "no weights yet"


def _opened(config: DataConfig) -> "ImageData":
    """What training with these settings would see."""
    from distvae.data.store import open_data

    refuse_out_of_range(vars(config))
    return open_data(config, progress_bar)


def _inspect_data(data: "ImageData", config: InspectConfig) -> None:
    from distvae.data.cache import cache_folder
    from distvae.data.overview import (
        attribute_rows,
        column_rows,
        label_rows,
        rows_of,
        write_examples,
    )

    console = make_console()
    console.print(table(data.name, rows_of(data)))
    if by_attribute := attribute_rows(data):
        console.print(table(f"{data.name}, what examples are given", by_attribute, header=True))
    if by_column := column_rows(data):
        title = f"{data.name}, training rows by column, of which no number is missing"
        console.print(table(title, by_column[: MOST_LABELS + 1], header=True))
        if (more := len(by_column) - 1 - MOST_LABELS) > 0:
            console.print(f"and {counted(more, 'more columns')}")
    for title, by_label in label_rows(data):
        console.print(table(f"{data.name}, {title}", by_label[: MOST_LABELS + 1], header=True))
        if (more := len(by_label) - 1 - MOST_LABELS) > 0:
            console.print(f"and {counted(more, 'more labels')}")
    for note in data.notes:
        console.print(f"data: {note}")
    if not data.has("pictures"):  # there is nothing to look at
        return
    usual = cache_folder(config.data) / f"{data.name}-examples.png"
    path = Path(config.output) if config.output else usual
    console.print(f"examples: {path} ({write_examples(path, data)})")
