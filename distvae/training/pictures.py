"""What a person looks at of a run in training: sheets of images, tables of vectors."""

from pathlib import Path

import numpy as np
import torch

from distvae.conditions import Conditions
from distvae.data.batches import ResidentImages
from distvae.domains import Images, Vectors, in_unit_range
from distvae.drawings import write_rows
from distvae.images import paired, save_grid, to_uint8
from distvae.labels import numbers_of
from distvae.marginals import write_marginals
from distvae.models import VAE

COLUMNS = 10
MOST_ROWS = 20
LOOKED_AT = 2_000
"""Rows of a split that are held against generated ones."""


@torch.no_grad()
def write_pictures(model: VAE, images: ResidentImages, seed: int, folder: Path, epoch: int) -> None:
    """Write into a folder what shows how far a model is, by the same noise in every epoch.

    Of images: ``epoch-NNNN.png``, one row of samples per label (of the first labels, where there
    are many), and ``reconstructions-NNNN.png``, pairs of which the original is above, of the first
    images of the split. Of vectors: ``epoch-NNNN.csv``, some generated rows of each label, and
    ``epoch-NNNN.png``, how their columns and those of the split are distributed.
    """
    domain, stem = model.domain, f"epoch-{epoch:04d}"
    if isinstance(domain, Images):
        _write_images(model, seed, folder / f"{stem}.png")
        _write_reconstructions(model, images, folder / f"reconstructions-{epoch:04d}.png")
    elif isinstance(domain, Vectors):
        _write_rows(model, domain, seed, folder / f"{stem}.csv")
        _write_marginals(model, domain, images, seed, folder / f"{stem}.png")


def _write_images(model: VAE, seed: int, path: Path) -> None:
    labels = model.label_names[:MOST_ROWS]
    samples = (
        model.sample(labels=labels, n=COLUMNS, seed=seed)
        if labels
        else model.sample(n=COLUMNS * COLUMNS, seed=seed)
    )
    save_grid(path, to_uint8(samples.cpu().numpy()), COLUMNS)


def _write_reconstructions(model: VAE, images: ResidentImages, path: Path) -> None:
    count = min(5 * COLUMNS, len(images.stored))
    if not count:
        return
    stored, *known = images.gather(torch.arange(count))
    inputs = model.domain.to_expected_input(stored)
    given = Conditions.of_examples(*known) if model.conditional else None
    context = model.conditioner(given)
    decoded = model.render(model.means(inputs, context), context)
    columns = min(COLUMNS, count)
    halves = [to_uint8(half.cpu().numpy()) for half in (in_unit_range(stored), decoded)]
    sheet = paired(halves[0], halves[1], columns)
    save_grid(path, sheet, columns)


def _write_rows(model: VAE, domain: Vectors, seed: int, path: Path) -> None:
    names = model.label_names[:MOST_ROWS]
    drawn = domain.to_stored(model.sample(labels=names or None, n=COLUMNS, seed=seed)).cpu().numpy()
    labels = np.arange(len(drawn)) // COLUMNS if names else None
    write_rows(path, domain.columns, names, [(drawn, labels)])


def _write_marginals(
    model: VAE, domain: Vectors, images: ResidentImages, seed: int, path: Path
) -> None:
    """Generated rows have the labels of the real ones, where these have one each."""
    rows = torch.arange(0, len(images.stored), max(1, len(images.stored) // LOOKED_AT))
    if not len(rows):
        return
    stored, labels, *_ = images.gather(rows)
    if model.label_names and labels is not None:
        known = labels >= 0
        stored, numbers = stored[known], numbers_of(model.label_names)[labels[known].cpu().numpy()]
        drawn = model.sample(labels=numbers, n=1, seed=seed)
    else:
        drawn = model.sample(n=len(rows), seed=seed)
    real, generated = stored.cpu().numpy(), domain.to_stored(drawn).cpu().numpy()
    write_marginals(path, domain.columns, real, generated)
