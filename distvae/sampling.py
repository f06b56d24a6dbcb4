"""`distvae sample`: what a run or an ONNX file draws, as a sheet, arrays, pictures or a table."""

import dataclasses
import math
import os
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from distvae.asking import parse_asked, usual_rows
from distvae.attribute_values import Given
from distvae.attributes import Attribute
from distvae.domains import DOMAINS, Domain, ending_among, told_endings
from distvae.drawings import Drawing, Examples
from distvae.errors import DistvaeError, shown
from distvae.fields import Field
from distvae.files import reporting_disk_errors
from distvae.flags import Positional
from distvae.labels import numbers_of, parse_labels
from distvae.prior_remark import recorded_settings, warn_of_prior
from distvae.ranges import check_seed
from distvae.runs import ONNX, RUNS, SAMPLES, find_run, is_run
from distvae.terminal import say
from distvae.text import file_name
from distvae.values import Aliases, LabelNames, PathName, RunName

if TYPE_CHECKING:
    from torch import Tensor

SEED_BITS = 128  # Philox's key
COUNT_BITS = 63
MANY = 2048
"""Images that are worth a GPU: of fewer its start takes longer than a CPU does."""


@dataclass(frozen=True)
class SampleConfig:
    """Draw images from a trained model, by label where it has labels."""

    EXAMPLES = (
        "distvae sample --label 7 --count 64",
        "distvae sample runs/photos --label tulip,rose --output flowers.png",
    )

    run: Annotated[RunName | None, Positional] = None
    """Run folder, one of its checkpoints, an ONNX file or a folder of them, which need no PyTorch; left out: the newest run."""
    label: Annotated[LabelNames | None, Aliases(("--labels",))] = None
    """Labels by number, name, range or list: `7`, `shirt`, `0-9`, `3,1,4`; left out: every label. Of several attributes by name, `digit=7,colour=red` or `digit=0-9,colour=red,blue,angle=30.5`: every combination is drawn, and an attribute that is left out is not known. Where all names are whole numbers, a number is a name. In a list, a name with a comma, a dash or spaces around it may stand in double quotes: `'"red, dark",blue'`."""
    count: int = 10
    """Images for each label."""
    seed: int = 0
    """Seed of the noise: the same seed gives the same images on every machine."""
    temperature: float = 1.0
    """Factor of the noise; below 1 images are more typical and less diverse."""
    output: PathName | None = None
    """A .png sheet, an .npz or .npy of arrays (.npy for any number: memory stays flat), or a folder of PNG files; of the rows of a table a .csv, an .npz or an .npy; left out: a sheet, or a .csv, in the run."""
    prior: Literal["model", "fitted"] = "model"
    """Where the latents come from: the model's own prior, or the one that `distvae fit-prior` fitted to the run."""
    provider: Literal["cpu", "cuda", "tensorrt", "coreml", "openvino"] = "cpu"
    """What runs an ONNX file."""
    verify: Literal["auto", "on", "off"] = "auto"
    """Compare an ONNX file with its checksum, and what this machine draws with the file's probe; `auto` spares files above 200 MB the checksum."""


@dataclass(frozen=True)
class Source:
    """Where images come from: the weights of a run or an ONNX file."""

    folder: Path
    """Under which samples are kept."""
    weights: Path
    onnx: bool
    remark: str = ""
    """Why it is not what one might think."""


def write_samples(config: SampleConfig) -> None:
    """Draw and write what ``distvae sample`` was asked for.

    Raises:
        DistvaeError: no such run, file, label or provider, a wrong number, or an output that
            cannot be written.
    """
    _check_numbers(config)
    source = _source_asked(config)
    if config.output is not None:
        _output(config, source.folder)  # refused before anything is opened
    if config.provider != "cpu" and not source.onnx:
        raise DistvaeError(
            f"--provider {config.provider} is for ONNX files",
            source.remark or f"{source.weights.parent} is sampled with PyTorch",
            "Export it first: distvae export --onnx",
        )
    domain, drawing = (_from_onnx if source.onnx else _from_weights)(config, source.weights)
    what = domain.examples
    output = _output(config, source.folder, next(iter(domain.writers)))
    ending = ending_among(output, domain.writers)
    if ending not in domain.writers:
        raise DistvaeError(
            f"--output {output} does not fit {what}",
            f"expected {told_endings(type(domain))}",
        )
    with reporting_disk_errors(f"the {what} cannot be written to {output}", output.parent):
        domain.writer(ending)(output, drawing)
    if config.run is None:
        say(f"newest run: {source.folder}")
    if source.remark:
        say(source.remark)
    say(f"{drawing.total} {what} from {source.weights} in {output}")


def _source_asked(config: SampleConfig) -> Source:
    """What is drawn from; where a label stands in the place of a run, how labels are asked for."""
    try:
        return find_source(config.run, config.prior == "fitted")
    except DistvaeError as error:
        if config.run is None or Path(config.run).exists() or (RUNS / config.run).exists():
            raise
        asked = ",".join(filter(None, (config.label, config.run)))
        hint = f"{error.next_step} Labels are asked for by --label {shlex.quote(asked)}".strip()
        raise DistvaeError(error.thing, error.expected, hint) from error


def find_source(name: str | None, fitted: bool = False) -> Source:
    """What a command draws from, given a run, a checkpoint, an ONNX file or a folder of them.

    The exported file of a run is taken where it was made from the run's present weights, unless the
    latents come from a fitted prior, which only the weights take.

    Raises:
        DistvaeError: there is no such run, or an ONNX file was given for a fitted prior.
    """
    named = Path(name or "")
    inside = named / "decoder.onnx"
    path = inside if inside.is_file() and not is_run(named) else named
    if name is not None and (path.suffix == ".onnx" or path.is_file()):
        if fitted:
            raise DistvaeError(
                f"--prior fitted does not fit {name}",
                "an ONNX file draws from the prior that it was exported with",
                "Name the run folder.",
            )
        above = Path(os.path.realpath(path)).parent.parent
        return Source(above if is_run(above) else path.parent, path, onnx=True)
    run = find_run(name)
    weights, decoder = run.model / "model.safetensors", run.folder / ONNX / "decoder.onnx"
    if fitted or run.model != run.folder or not decoder.is_file():
        return Source(run.folder, weights, onnx=False)
    reason = _unfit(decoder, weights)
    if not reason:
        return Source(run.folder, decoder, onnx=True)
    remark = f"{ONNX}/{decoder.name} is {reason}: sampled from {weights.name}"
    return Source(run.folder, weights, onnx=False, remark=remark)


def _unfit(decoder: Path, weights: Path) -> str:
    """Why the exported file of a run does not stand for its weights; empty if it does."""
    from distvae.export.session import read_manifest
    from distvae.headers import stored_checksum

    try:
        manifest = read_manifest(decoder)
    except DistvaeError:
        return "damaged or of another version"
    return "" if manifest.weights_sha256 == stored_checksum(weights) else "of older weights"


def _check_numbers(config: SampleConfig) -> None:
    if not 1 <= config.count < 2**COUNT_BITS:
        count = shown(config.count)
        raise DistvaeError(f"--count is {count}", f"expected at least 1, below 2**{COUNT_BITS}")
    check_seed(config.seed, SEED_BITS)
    if not 0 <= config.temperature < math.inf:
        raise DistvaeError(f"--temperature is {config.temperature}", "expected 0 or more")
    known = {ending for domain in DOMAINS.values() for ending in domain.writers}
    if config.output is not None and ending_among(Path(config.output), known) not in known:
        raise DistvaeError(
            f"--output {config.output} has an unknown ending",
            f"expected {told_endings(*DOMAINS.values())}",
        )


def _output(config: SampleConfig, folder: Path, usual: str = ".png") -> Path:
    """Where the images go, which must be a new folder if it is one."""
    if config.output is None:
        label = f"label-{file_name(config.label)}-" if config.label is not None else ""
        fitted = "fitted-" if config.prior == "fitted" else ""
        return folder / SAMPLES / f"{fitted}{label}seed-{config.seed}{usual}"
    output = Path(config.output)
    if output.suffix and output.is_dir():
        raise DistvaeError(f"--output {output} is a folder", "expected a file to write")
    if not output.suffix and output.exists() and (output.is_file() or any(output.iterdir())):
        raise DistvaeError(
            f"--output {output} is {'a file' if output.is_file() else 'not empty'}",
            "expected a new folder",
            "Take another --output.",
        )
    return output


def _from_onnx(config: SampleConfig, path: Path) -> tuple[Domain, Drawing]:
    from distvae.export.sampler import Sampler

    verify = {"auto": None, "on": True, "off": False}[config.verify]
    sampler = Sampler(path, config.provider, verify=verify)
    if sampler.spared:
        say(f"{path} is large: not compared with its checksum; --verify on does")
    domain = sampler.manifest.domain
    warn_of_prior(sampler.manifest.settings)
    if sampler.attributes:
        return domain, _of_attributes(
            config,
            sampler.attributes,
            domain.field,
            lambda total, given: sampler.stream_given(
                total, given, config.seed, config.temperature
            ),
        )
    labels = _labels(config, sampler.label_names)

    def batches() -> Iterator[Examples]:
        asked = None if labels is None else numbers_of(sampler.label_names)[labels]
        return sampler.stream(asked, config.count, config.seed, config.temperature)

    return domain, Drawing(domain.field, sampler.label_names, labels, config.count, batches)


def _from_weights(config: SampleConfig, path: Path) -> tuple[Domain, Drawing]:
    from distvae.blocks import fastest_device
    from distvae.models import VAE
    from distvae.platform import prepare
    from distvae.priors.fitted import FittedPrior
    from distvae.tensor_cores import FLOAT32, multiply_in

    prepare(None)
    model = VAE.from_pretrained(path.parent)
    domain = model.domain
    warn_of_prior(recorded_settings(path.parent))

    def stored(total: int, parts: "Iterator[Tensor]") -> Iterator[Examples]:
        if total >= MANY:
            device = fastest_device()
            multiply_in(FLOAT32, device)
            model.to(device)
        for part in parts:  # the first is drawn now
            yield domain.to_stored(part).cpu().numpy()

    def drawn_given(total: int, given: Given) -> Iterator[Examples]:
        return stored(total, model.sample_given(total, given, config.seed, config.temperature))

    names = model.label_names
    if model.attributes and not names:
        return domain, _of_attributes(config, model.attributes, domain.field, drawn_given)
    prior = None
    if config.prior == "fitted":
        prior = FittedPrior.load(path.parent, model.config.latent_dim, len(names))
    labels = _labels(config, names)

    def batches() -> Iterator[Examples]:
        asked = None if labels is None else numbers_of(names)[labels]
        drawing = config.count, config.seed, config.temperature
        total = config.count * len(labels or [0])
        yield from stored(total, model.sample_batches(asked, *drawing, prior))

    return domain, Drawing(domain.field, names, labels, config.count, batches)


def _of_attributes(
    config: SampleConfig,
    attributes: tuple[Attribute, ...],
    field: Field,
    draw: Callable[[int, Given], Iterator[Examples]],
) -> Drawing:
    """What a model of several attributes draws: a row for each combination that is asked for."""
    if config.prior == "fitted":
        raise DistvaeError(
            "--prior fitted has Gaussians for each label",
            f"this model is given {', '.join(each.name for each in attributes)}",
            "Leave it out.",
        )
    asked = usual_rows(attributes)
    if config.label is not None:
        asked = parse_asked(config.label, attributes)
    for note in asked.notes:
        say(note)
    given, rows = asked.given(config.count), list(range(len(asked.rows)))
    batches = partial(draw, config.count * len(rows), given)
    drawing = Drawing(field, asked.names, rows, config.count, batches)
    return dataclasses.replace(drawing, attributes=attributes, given=given)


def _labels(config: SampleConfig, names: tuple[str, ...]) -> list[int] | None:
    """Indices of the labels that were asked for, or None for a model without."""
    if config.label is not None:
        return parse_labels(config.label, names)  # refuses where there are none
    return list(range(len(names))) or None
