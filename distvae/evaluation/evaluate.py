"""`distvae evaluate`: the numbers of a run on its test split, as a table and in its folder."""

import hashlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import tyro

from distvae.card import (
    CARD,
    EVALUATION,
    TABLE,
    check_log,
    evaluation,
    numbers_of,
    write_card,
    write_evaluation,
)
from distvae.errors import DistvaeError, nearest
from distvae.figures import rows_by_label, rows_of
from distvae.files import disk_told, write_json
from distvae.records import Scalar
from distvae.runs import Run, find_run
from distvae.terminal import make_console, progress_bar, table

if TYPE_CHECKING:
    import torch
    from rich.console import Console

    from distvae.data.store import ImageData
    from distvae.evaluation.measures import Share

WEIGHTS = "weights_sha256"


@dataclass(frozen=True)
class EvaluateConfig:
    """Measure a trained model on its test split.

    Left to itself it measures elbo, latents and, for a conditional model, judge. The others take
    longer, or other data: name what you want, as in --metrics elbo,likelihood. What was measured
    before of the same weights is kept. On several processes (`torchrun --nproc-per-node 2 -m
    distvae.cli evaluate RUN`) elbo, likelihood and marginal take their shares of the images.
    """

    run: Annotated[str | None, tyro.conf.Positional] = None
    """Run folder or one of its checkpoints; left out: the newest run."""
    data: str | None = None
    """Where the data of the run lies now, if it was moved; left out: where the run says."""
    metrics: tuple[str, ...] = ()
    """elbo: the bound, distortion, rate, bits per pixel and channel, active latents. likelihood:
    log p(x), for a conditional model log p(x|y), by importance sampling, overall and by label.
    marginal: log p(x) of a conditional model, summed over its labels. latents: KL by latent, mutual
    information, distance of q(z) from the prior. factors: MIG, SAP, DCI and FactorVAE score, on
    data whose factors are known. judge: how well generated images obey their label, by a small
    classifier trained on the real ones, how diverse they are, and which labels are confused.
    distances: FID, KID, inception score, precision and recall, in the features of that classifier
    (then named fid_judge: never to be compared with a FID) unless Inception-v3 is on this machine.
    neighbours: the training image nearest to a generated one, and whether there are copies.
    downstream: what the latents tell of labels, by linear probe, nearest neighbours and clusters;
    of a conditional model its accuracy as a classifier, and how much of the label leaks into the
    latents. augmentation: what generated images add to few real ones in training a classifier."""
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
    from distvae.evaluation.measures import METRICS, Subject, check
    from distvae.models import VAE
    from distvae.platform import prepare

    for name in config.metrics:
        if name not in METRICS:
            known = f"expected some of {', '.join(METRICS)}"
            raise DistvaeError(f"unknown metric {name!r}", known, nearest(name, METRICS))
    if config.draws < 1:
        raise DistvaeError(f"--draws is {config.draws}", "expected at least 1")
    run = find_run(config.run)
    evaluation(run.folder)  # what is damaged is told before the work
    check_log(run.folder)
    prepare(None)
    share, device = _share()
    console = make_console(quiet=share.rank > 0)
    if config.run is None:
        console.print(f"newest run: {run.folder}")
    settings = run.settings().data
    model = VAE.from_pretrained(run.model).to(device)
    data = open_recorded(run, config.data, progress_bar, quiet=share.rank > 0)
    images = ResidentImages.from_split(data.test).to(device)
    folder = run.folder if run.model == run.folder else None
    subject = Subject(model, data, images, settings, config.draws, config.seed, share, folder)
    chosen = config.metrics or ("elbo", "latents", *(["judge"] if model.conditional else []))
    for name in chosen:
        check(name, model, data)
    values: dict[str, float] = {}
    for name in chosen:
        if share.rank > 0 and not METRICS[name].shared:
            continue
        measured = subject if METRICS[name].unlabelled else subject.labelled()
        with disk_told(f"the pictures of {name} cannot be written to {run.folder}", run.folder):
            found = dict(METRICS[name].measure(measured))
        told = f"{len(measured.data.test):,} test images"
        console.print(table(f"{name}: {run.model}, {told}", rows_of(found)))
        if by_label := rows_by_label(found):
            console.print(table(f"{name}, label by label", by_label, header=True))
        values |= found
    if folder and share.rank == 0:
        with disk_told(f"the evaluation cannot be written to {run.folder}", run.folder):
            written = _keep(run, {**_known(run, console), **values}, data)
        console.print(f"written to {run.folder}: {' and '.join(written)}")


def _share() -> "tuple[Share, torch.device]":
    """The part of this process in the work, and the device it does it on."""
    import torch

    from distvae.evaluation.measures import Share

    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        return Share(0, 1, lambda values: values), device
    from accelerate import PartialState

    state = PartialState(cpu=not torch.cuda.is_available())

    def add(values: torch.Tensor) -> torch.Tensor:
        torch.distributed.all_reduce(values)
        return values

    return Share(state.process_index, state.num_processes, add), state.device


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
    told = data_record(data, run.folder) if run.bare else run.record().data
    write_evaluation(run.folder, numbers_of(values), told)
    if run.bare:
        return [EVALUATION, TABLE]
    write_card(run.folder)
    return [EVALUATION, TABLE, CARD]
