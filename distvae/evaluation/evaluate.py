"""`distvae evaluate`: the numbers of a run on its test split, as a table and in its folder."""

import hashlib
import importlib
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated

from distvae.attributes import main_label
from distvae.card import (
    CARD,
    EVALUATION,
    LEFT_OUT,
    TABLE,
    best,
    check_log,
    evaluation,
    write_card,
    write_evaluation,
)
from distvae.config import added_terms
from distvae.declarations import declared, explained, usual
from distvae.errors import DistvaeError, nearest
from distvae.figures import missing_name, rows_by_label, rows_of
from distvae.files import reporting_disk_errors, write_json
from distvae.flags import Positional
from distvae.ranges import check_seed
from distvae.records import Scalar
from distvae.runs import Run, find_run
from distvae.terminal import make_console, progress_bar, table
from distvae.values import DataName, RunName, Word

if TYPE_CHECKING:
    import torch
    from rich.console import Console

    from distvae.data.store import ImageData
    from distvae.evaluation.metrics import Subject
    from distvae.evaluation.passes import Share
    from distvae.models import VAE

WEIGHTS = "weights_sha256"
USUAL = usual("metric")
CHOSEN = (
    "The weights were chosen by their loss on this test split, which makes them look a little "
    "better than they are."
)
OF_BOUND = "nats are those of the bound itself: {added} was minimized beside it, and counts in none"
MetricName = Annotated[str, Word("NAME", tuple(declared("metric")))]


@dataclass(frozen=True)
class EvaluateConfig:
    """Measure a trained model on its test split.

    What cannot be had, as of too few images, is left out and told why. What was measured before of
    the same weights is kept. On several processes (`torchrun --nproc-per-node 2 -m distvae.cli
    evaluate RUN`) metrics that look at images one by one take their shares of them.
    """

    EXAMPLES = (
        "distvae evaluate",
        "distvae evaluate runs/photos --metrics elbo,likelihood,distances",
    )

    run: Annotated[RunName | None, Positional] = None
    """Run folder or one of its checkpoints; left out: the newest run."""
    data: DataName | None = None
    """Where the data of the run lies now, if it was moved; left out: where the run says."""
    metrics: tuple[MetricName, ...] = field(
        default=(),
        metadata={
            "help": f"What to measure, as in `elbo,likelihood`; left out: {' and '.join(USUAL)}, as "
            "far as the model has labels; the others take longer, or other data."
            + explained("metric")
        },
    )
    draws: int = 5000
    """Importance samples of an image, for likelihood and marginal."""
    seed: int = 0
    """Seed of the posterior draws, the binarization and the generated images."""


def evaluate_run(config: EvaluateConfig) -> None:
    """Print a table; write evaluation.json, evaluation.md and the model card of a run.

    Raises:
        DistvaeError: no such run or metric, its data is gone or has changed, or a metric needs
            labels or factors that it has not.
    """
    from distvae.data.batches import ResidentImages
    from distvae.data.provenance import open_recorded
    from distvae.evaluation.metrics import METRICS, Subject
    from distvae.models import VAE
    from distvae.platform import prepare
    from distvae.tensor_cores import as_trained

    _check(config)
    run = find_run(config.run)
    evaluation(run.folder)  # what is damaged is told before the work
    check_log(run.folder)
    prepare(None)
    share, device = _share()
    console = make_console(quiet=share.rank > 0)
    if config.run is None:
        console.print(f"newest run: {run.folder}")
    for note in as_trained(run.settings().optim.matmul, device):
        console.print(note)
    model = VAE.from_pretrained(run.model).to(device)
    data = open_recorded(run, config.data, progress_bar, quiet=share.rank > 0)
    images = ResidentImages.from_split(data.test).to(device)
    folder = run.folder if run.model == run.folder else None
    left_out: dict[str, str] = {}
    subject = Subject(
        model,
        data,
        images,
        run.settings().data,
        config.draws,
        config.seed,
        share,
        folder,
        leave=left_out.__setitem__,
    )
    values: dict[str, float] = {}
    if (main := main_label(data.attributes)) is not None:
        shown = data.attributes[main].name
        console.print(f"figures of labels are those of {shown}, but for judge, which has all")
    for name in _possible(config.metrics or _usual(model), subject):
        if share.rank == 0 or METRICS[name].shared:
            values |= _measured(name, subject, run, left_out, console)
    for name, why in left_out.items():
        console.print(f"left out: {missing_name(name)}: {why}")
    for line in _said_of(run):
        console.print(line)
    if folder and share.rank == 0:
        with reporting_disk_errors(f"the evaluation cannot be written to {run.folder}", run.folder):
            joined = _joined(_known(run, console), values, left_out)
            written = _keep(run, joined, data)
        console.print(f"written to {run.folder}: {', '.join(written)}")


def _said_of(run: Run) -> Iterator[str]:
    """What to say of the figures of a run."""
    if (kept := best(run.folder)) and kept.split == "test":
        yield CHOSEN
    if added := added_terms(run.settings().objective):
        yield OF_BOUND.format(added=" and ".join(added))


def _usual(model: "VAE") -> list[str]:
    """The metrics that are taken where none is named."""
    from distvae.evaluation.metrics import METRICS
    from distvae.evaluation.metrics.labels import tells_labels
    from distvae.evaluation.metrics.needs import conditional, judged, pictures

    unfit = {
        *(() if "pictures" in model.domain.part.traits else (pictures,)),
        *((judged,) if len(model.domain.shape) > 3 else ()),
        *(() if model.conditional else (conditional,)),
        *(() if model.classifier else (tells_labels,)),
    }
    return [name for name in USUAL if not unfit.intersection(METRICS[name].needs)]


def _check(config: EvaluateConfig) -> None:
    """Refuse an unknown metric, and too few draws."""
    from distvae.evaluation.metrics import METRICS

    for name in config.metrics:
        if name not in METRICS:
            known = f"expected some of {', '.join(METRICS)}"
            raise DistvaeError(f"unknown metric {name!r}", known, nearest(name, METRICS))
    if config.draws < 1:
        raise DistvaeError(f"--draws is {config.draws}", "expected at least 1")
    check_seed(config.seed)


def _measured(
    name: str, subject: "Subject", run: Run, left_out: dict[str, str], console: "Console"
) -> dict[str, float]:
    """The figures of a metric, printed."""
    from distvae.evaluation.metrics import METRICS

    metric = METRICS[name]
    measured = subject if metric.unlabelled else subject.labelled()
    with reporting_disk_errors(
        f"the pictures of {name} cannot be written to {run.folder}", run.folder
    ):
        result = _finite(metric.measure(measured), left_out)
    console.print(
        table(
            f"{name}: {run.model}, {metric.images(measured)}",
            rows_of(result, measured.data.examples),
        )
    )
    if by_label := rows_by_label(result):
        console.print(table(f"{name}, label by label", by_label, header=True))
    return result


def _possible(chosen: Sequence[str], subject: "Subject") -> list[str]:
    """Those metrics that can be had; of the others it is told why not.

    Raises:
        DistvaeError: none can be had.
        ModuleNotFoundError: one needs a package that is not installed.
    """
    from distvae.evaluation.metrics import METRICS

    possible, errors = [], []
    for name in chosen:
        try:
            for need in METRICS[name].needs:
                need(name, subject.model, subject.data)
        except DistvaeError as error:
            errors.append(error)
            subject.leave(name, str(error))
            continue
        if METRICS[name].imports:
            importlib.import_module(METRICS[name].imports)
        possible.append(name)
    if not possible:
        raise errors[0]
    return possible


def _finite(measured: Iterable[tuple[str, float]], left_out: dict[str, str]) -> dict[str, float]:
    """What is a number of what was measured."""
    found = dict(measured)
    for name, value in found.items():
        if not math.isfinite(value):
            left_out[name] = f"it came out as {value}"
    return {name: value for name, value in found.items() if math.isfinite(value)}


def _share() -> "tuple[Share, torch.device]":
    """The part of this process in the work, and the device it does it on."""
    import torch

    from distvae.blocks import fastest_device
    from distvae.evaluation.passes import ALONE, Share

    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return ALONE, fastest_device()
    from accelerate import PartialState

    state = PartialState(cpu=not torch.cuda.is_available())

    def add(values: torch.Tensor) -> torch.Tensor:
        torch.distributed.all_reduce(values)
        return values

    return Share(state.process_index, state.num_processes, add), state.device


def _joined(
    known: Mapping[str, Scalar], values: Mapping[str, float], left_out: Mapping[str, str]
) -> dict[str, Scalar]:
    """What was known and what is new, each figure or why it is left out."""
    joined = {
        name: value
        for name, value in known.items()
        if name not in left_out and name.removeprefix(LEFT_OUT) not in values
    }
    return {**joined, **values, **{LEFT_OUT + name: why for name, why in left_out.items()}}


def _known(run: Run, console: "Console") -> dict[str, Scalar]:
    """What was measured before of the same weights; of others it is dropped."""
    from distvae.tensors import weights_checksum

    before, file = evaluation(run.folder), run.model / "model.safetensors"
    of_file = hashlib.sha256(file.read_bytes()).hexdigest()  # what earlier versions recorded
    if before.weights_sha256 in (weights_checksum(file), of_file):
        return before.values
    if before.values:
        console.print(f"{EVALUATION} held figures of other weights: they were dropped")
    return {}


def _keep(run: Run, values: dict[str, Scalar], data: "ImageData") -> list[str]:
    """Write what is known of the weights.

    Returns:
        Names of the files that were written: a bare model keeps the card that it came with.
    """
    from distvae.data.provenance import data_record
    from distvae.tensors import weights_checksum

    weights = weights_checksum(run.model / "model.safetensors")
    write_json(run.folder / EVALUATION, {WEIGHTS: weights, **values})
    recorded = data_record(data, run.folder) if run.bare else run.record().data
    write_evaluation(run.folder, values, recorded, data.examples)
    if run.bare:
        return [EVALUATION, TABLE]
    write_card(run.folder)
    return [EVALUATION, TABLE, CARD]
