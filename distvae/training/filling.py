"""Labels of the training split that were hidden, or spread to examples that have none."""

import dataclasses
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from distvae.config import TrainConfig
from distvae.data.batches import ResidentImages
from distvae.data.hiding import hide_labels
from distvae.data.image_data import ImageData
from distvae.data.npy import mapped
from distvae.data.sources.raw import UNLABELLED
from distvae.errors import DistvaeError
from distvae.evaluation.passes import BLOCK
from distvae.files import reporting_disk_errors
from distvae.models import VAE
from distvae.runs import find_run
from distvae.spreading import NEIGHBOURS, nearest, spread
from distvae.terminal import progress_bar
from distvae.training.world import on_main, together

LABELS = "labels.npy"
"""In a run folder: labels of the training examples, where they were spread."""


def with_labels(
    data: ImageData, config: TrainConfig, accelerator: Accelerator, earlier: Path | None
) -> ImageData:
    """The data with the labels that a run is trained on.

    Args:
        data: as it was opened.
        config: says which labels are hidden and whether others are spread.
        accelerator: the main process spreads them.
        earlier: folder of a run that is gone on with, whose labels were spread when it began.

    Raises:
        DistvaeError: they cannot be hidden or spread.
    """
    settings = config.data
    if (keep := settings.keep_labels) is not None:
        data = together(accelerator, lambda: hide_labels(data, keep, settings.keep_seed))
    if (name := settings.spread_labels) is None:
        return data
    found, note = on_main(
        accelerator,
        lambda: (
            _spread_by(data, name, accelerator.device) if earlier is None else _kept(earlier, data)
        ),
    )
    train = data.train.with_labels(np.array(found, np.int64))
    return dataclasses.replace(data, train=train, notes=(*data.notes, note))


def keep(folder: Path, data: ImageData) -> None:
    """Write down the labels with which a run begins, by which it can be gone on with."""
    labels = data.train.labels
    assert labels is not None
    with reporting_disk_errors(f"the labels cannot be written to {folder}", folder):
        np.save(folder / LABELS, labels, allow_pickle=False)


def _kept(folder: Path, data: ImageData) -> tuple[list[int], str]:
    try:
        labels = np.array(mapped(folder / LABELS))
    except (OSError, ValueError) as error:
        raise DistvaeError(
            f"{folder / LABELS} cannot be read: {error}",
            "it holds the labels that were spread when the run began",
            "Begin anew with another --output.",
        ) from None
    if labels.shape != (len(data.train),):
        raise DistvaeError(
            f"{folder / LABELS} holds {labels.size:,} labels",
            f"expected one for each of {len(data.train):,} training {data.examples}",
            "Begin anew with another --output.",
        )
    return labels.tolist(), f"labels are those that were spread when {folder} began"


def _spread_by(data: ImageData, name: str, device: torch.device) -> tuple[list[int], str]:
    """The labels of all training examples, and what to say of them."""
    run = find_run(name)
    model = VAE.from_pretrained(run.model).to(device)
    _check(data, model, name)
    labels = data.train.labels
    assert labels is not None
    codes = _codes(model, data, device)
    total = len(codes)
    with progress_bar("nearest neighbours", total) as advance:
        distances, rows = nearest(codes, min(NEIGHBOURS, total - 1), advance)
    known = torch.from_numpy(np.array(labels)).to(device)
    found = spread(distances, rows, known, data.num_labels).cpu().numpy()
    before, after = ((each != UNLABELLED).sum() for each in (labels, found))
    lost = f"; {total - after:,} are out of reach and stay without" if after < total else ""
    note = (
        f"labels of {before:,} training {data.examples} spread to {after - before:,} others "
        f"between nearest neighbours in the latents of {name}{lost}"
    )
    return found.tolist(), note


@torch.no_grad()
def _codes(model: VAE, data: ImageData, device: torch.device) -> Tensor:
    """Means of the posteriors of training examples, level by level ``[N, Z]``."""
    images, found = ResidentImages.from_split(data.train), []
    with progress_bar("latents", len(images)) as advance:
        for rows in torch.split(torch.arange(len(images)), BLOCK):
            inputs = model.domain.to_expected_input(images.gather(rows).stored.to(device))
            means = [mean.flatten(1).float() for mean in model.means(inputs)]
            found.append(torch.cat(means, 1))
            advance(len(rows))
    return torch.cat(found)


def _check(data: ImageData, model: VAE, name: str) -> None:
    """Refuse what no label can be spread on."""
    if model.conditional:
        raise DistvaeError(
            f"--spread-labels {name} is a model that is given labels",
            "labels spread in the latents of one that knows none",
            "Train one by --model vae on the same data.",
        )
    if (model.domain.part.name, model.domain.shape) != (data.domain, data.shape):
        raise DistvaeError(
            f"--spread-labels {name} takes {model.domain.told}",
            f"expected a model of {data.domain} of the shape {'x'.join(map(str, data.shape))}",
            "Train one by --model vae on the same data.",
        )
    labels = data.train.labels
    if data.sampled or data.attributes or labels is None:
        raise DistvaeError(
            "--spread-labels needs one label for some training examples, all of them at hand",
            "it goes neither with --streaming, --augment crop nor several attributes",
            "Leave it out.",
        )
    if (labels != UNLABELLED).all():
        raise DistvaeError(
            f"--spread-labels {name}: every training example of {data.source} has a label",
            "labels spread to those that have none",
            "Leave it out, or hide some by --keep-labels.",
        )
