"""`distvae export`: a run as ONNX files that are verified or not written."""

import dataclasses
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from distvae.asking import example_flag
from distvae.errors import DistvaeError
from distvae.export.check import check, verified
from distvae.export.refused import (
    refuse_deep_page,
    refuse_what_is_of_images,
    refuse_what_takes_a_label,
)
from distvae.files import new_folder, reporting_disk_errors
from distvae.flags import Positional
from distvae.labels import label_flag
from distvae.prior_remark import warn_of_prior
from distvae.runs import ONNX, Run, find_run, without_folders
from distvae.terminal import make_console, progress_bar, warn
from distvae.values import DataName, FileName, FolderName, RunName, Within

if TYPE_CHECKING:
    import onnx

    from distvae.export.bundle import Row
    from distvae.export.convert import Origin
    from distvae.export.rates import Rates
    from distvae.models import VAE

Precision = Literal["fp32", "fp16", "int8"]
WEB = "web"
SCORE = "score.onnx"
NOT_RECORDED = "not recorded"
"""Stands for the data of a model that no run says anything of."""


@dataclass(frozen=True)
class ExportConfig:
    """Write a trained model as ONNX files, which draw, encode and score without PyTorch.

    The folder gets decoder.onnx, encoder.onnx, score.onnx, which tells what is unlike the training
    data, a README for whoever deploys them, and sample.py; of --latents spatial also
    latent_encoder.onnx and latent_decoder.onnx, with which `latents` and `decode` work.
    Each file is first compared with the model in PyTorch; where one differs nothing is written. An
    earlier export in the folder is replaced as a whole.
    """

    EXAMPLES = (
        "distvae export --onnx",
        "distvae export runs/photos --onnx --web",
    )

    run: Annotated[RunName | None, Positional] = None
    """Run folder or one of its checkpoints; left out: the newest run."""
    onnx: bool = False
    """Write ONNX: the one format there is, so this may be left out."""
    output: FolderName | None = None
    """Folder of the files; left out: onnx/ in the run."""
    precision: Precision = "fp32"
    """`fp16` and `int8` write smaller files beside the float32 ones and measure what that costs; int8 is calibrated on the training images."""
    data: DataName | None = None
    """Where the data of the run lies now, if it was moved, for the other precisions and the page; left out: where the run says."""
    web: bool = False
    """Add web/, a static page that draws in a browser."""
    diffusers: bool = False
    """Write no ONNX but the folder diffusers/, which the library diffusers reads as `AutoencoderKL`: of --network sd without labels."""
    false_alarms: Annotated[float, Within(0, 1, open=True, below=True)] = 0.01
    """Share of the run's test split that score.onnx is to call anomalies: it decides about the threshold in the file."""
    check: FileName | None = None
    """Write nothing: compare this exported FILE with its run again."""


def export_run(config: ExportConfig) -> None:
    """Export a run, or check a file, and print what was found.

    Raises:
        DistvaeError: no such run or file, a folder that holds something else, or a file that does
            not do what the model does.
    """
    if config.check is not None:
        check(Path(config.check), config.run)
        return
    run = find_run(config.run)
    if config.run is None:
        make_console().print(f"newest run: {run.folder}")
    if config.diffusers:
        from distvae.export.adopt import write_diffusers

        write_diffusers(run, config.output)
        return
    output = Path(config.output) if config.output is not None else run.folder / ONNX
    _may_replace(output)
    rows = _write(run, output, config)
    _tell(run, output, config.web, rows)


def _write(run: Run, output: Path, config: ExportConfig) -> list["Row"]:
    """Write all files or none; gives what is known of each graph."""
    from distvae.export.bundle import write_bundle
    from distvae.models import VAE

    origin = origin_of(run)
    model = VAE.from_pretrained(run.model)
    taken = ""
    if "pictures" in model.domain.part.traits:
        binarize = model.domain.settings()["binarize"]
        taken = f"; its encoder takes images as with --binarize {binarize}"
        refuse_deep_page(config, model)
    else:
        refuse_what_is_of_images(config, f"{run.folder}: its examples are {model.domain.told}")
    if model.attributes and not model.label_names:
        refuse_what_takes_a_label(config, model)
    if run.bare:
        make_console().print(
            f"{run.folder} is a model and not a run: its files will not say what data it was "
            f"trained on, nor with which settings{taken}"
        )
    reported = reporting_disk_errors(f"the export cannot be written to {output}", output.parent)
    with reported, new_folder(output) as folder:
        rows = [
            _written(folder / name, proto, model)
            for name, proto in _graphs(run, model, origin, config)
        ]
        rows += _scorer(run, model, origin, config, folder)
        if config.precision != "fp32" and model.conditional:
            rows = _judged(run, config.data, folder, rows)
        write_bundle(folder, rows, run.folder, config.web)
        if config.web:
            from distvae.export.web import write_page

            (folder / WEB).mkdir()
            name = run.folder.resolve().name
            write_page(folder / "decoder.onnx", folder / WEB, name, _rates(run, model, config.data))
    return rows


def _rates(run: Run, model: "VAE", place: str | None) -> "Rates | None":
    """Of the latents, on test images; where the data is not there, on what the model draws."""
    from distvae.data.provenance import open_recorded
    from distvae.export.rates import rates

    if not model.latents.finds_noise:
        return None
    try:
        split = open_recorded(run, place, progress_bar).test
    except DistvaeError as error:
        if place is not None:
            raise
        make_console().print(
            f"the page sorts latents by their rate on images that the model draws: {error.thing}"
        )
        split = None
    return rates(model, split if split is not None and len(split) else None)


def _tell(run: Run, output: Path, page: bool, rows: list["Row"]) -> None:
    """Print what the files cost, what to mind, and what to do next."""
    from distvae.export.bundle import coarse, label_table, price_table
    from distvae.export.session import read_manifest

    console = make_console()
    manifest = read_manifest(output / "decoder.onnx")
    title = f"{output}, compared with {run.model}"
    console.print(price_table(title, rows, manifest.domain.examples))
    if any(row.judged for row in rows):
        console.print(label_table(rows))
    for remark in filter(None, map(coarse, rows)):
        warn(remark)
    decoder = output / "decoder.onnx"
    warn_of_prior(manifest.settings)
    names = manifest.label_names
    label = f" {label_flag(names[-1])}" if names else ""
    label = f" {example_flag(manifest.attributes)}" if manifest.attributes else label
    listed = ", ".join(sorted(path.name for path in output.iterdir()))
    console.print(f"written to {output}: {listed}")
    console.print("next:")
    console.print(f"  distvae sample {shlex.quote(str(decoder))}{label}", style="bold")
    if page:
        console.print(
            f"  python -m http.server --directory {shlex.quote(str(output / WEB))}", style="bold"
        )


def origin_of(run: Run) -> "Origin":
    """What of a run goes into the files: its settings, but no folder of this machine."""
    from distvae.export.convert import Origin

    if run.bare:
        unknown: dict[str, object] = dict.fromkeys(("source", "fingerprint"), NOT_RECORDED)
        bare = run.settings()
        known = {**dataclasses.asdict(bare.model), "binarize": bare.data.binarize}
        return Origin(known, unknown)
    config, data = run.config(), run.record().data
    settings: dict[str, Any] = {}
    for concern in (config.data, config.model, config.objective, config.optim):
        settings |= dataclasses.asdict(concern)
    del settings["cache_dir"]
    settings["data"] = without_folders(settings["data"])
    source: dict[str, object] = {
        "source": without_folders(data.source),
        "fingerprint": data.fingerprint,
    }
    return Origin(settings, source)


def _may_replace(output: Path) -> None:
    """That nothing but an earlier export would be lost."""
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        return
    if not (output / "decoder.onnx").is_file():
        raise DistvaeError(
            f"{output} holds something else than an export",
            "expected a new or empty folder, or one with a decoder.onnx",
            "Choose another --output.",
        )


def _graphs(
    run: Run, model: "VAE", origin: "Origin", config: ExportConfig
) -> Iterator[tuple[str, "onnx.ModelProto"]]:
    """Names and graphs of the files, float32 first."""
    from distvae.export.convert import any_size_graphs, decoder_graph, encoder_graph

    decoder = decoder_graph(model, origin)
    yield "decoder.onnx", decoder
    yield "encoder.onnx", encoder_graph(model, origin, noise=True)
    yield from any_size_graphs(model, origin)
    if config.precision == "fp32":
        return
    graphs = {"decoder": decoder, "encoder": encoder_graph(model, origin)}
    from distvae.export.quantize import half, integer

    if config.precision == "fp16":
        for name, proto in graphs.items():
            yield f"{name}-fp16.onnx", half(proto)
        return
    from distvae.data.provenance import open_recorded
    from distvae.export.price import calibration

    data = open_recorded(run, config.data, progress_bar)
    for (name, proto), feeds in zip(graphs.items(), calibration(model, data), strict=True):
        yield f"{name}-int8.onnx", integer(proto, feeds)


def _written(path: Path, proto: "onnx.ModelProto", model: "VAE") -> "Row":
    """Write one file, compare it with the model, and time it."""
    from distvae.export.bundle import Row
    from distvae.export.convert import write_graph
    from distvae.export.speed import images_per_second

    write_graph(proto, path)
    parity = verified(path, model)
    size = sum(part.stat().st_size for part in path.parent.glob(f"{path.name}*"))
    decoder = path.name.startswith("decoder")
    return Row(path.name, size, parity, images_per_second(path) if decoder else None)


def _scorer(
    run: Run, model: "VAE", origin: "Origin", config: ExportConfig, folder: Path
) -> list["Row"]:
    """Write score.onnx with its threshold, if this model has one that is as exact as the others."""
    from distvae.export.convert import score_graph
    from distvae.export.threshold import with_threshold

    proto = score_graph(model, origin)
    proto, line = with_threshold(proto, model, run, config.data, config.false_alarms)
    try:
        row = _written(folder / SCORE, proto, model)
    except DistvaeError as error:
        (folder / SCORE).unlink(missing_ok=True)
        warn(f"{SCORE} is left out: {error.thing}; {error.expected}")
        return []
    make_console().print(line)
    return [row]


def _judged(run: Run, place: str | None, folder: Path, rows: list["Row"]) -> list["Row"]:
    """The rows with what judges of the run's data say of each decoder's images."""
    from distvae.data.provenance import open_recorded
    from distvae.export.price import judged, judges_of

    settings = run.settings().data
    data = open_recorded(run, place, progress_bar)
    judges = judges_of(data, settings)
    decoders = [row.name for row in rows if row.name.startswith("decoder")]
    shares = {}
    with progress_bar("judging generated images", len(decoders) * data.num_labels) as advance:
        for name in decoders:
            shares[name] = judged(folder / name, judges, advance)
    return [dataclasses.replace(row, judged=shares.get(row.name)) for row in rows]
