"""What a person looks at of a run in training: sheets of images, tables of vectors."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from distvae.asking import usual_rows, written
from distvae.conditions import Conditions
from distvae.data.batches import ResidentImages
from distvae.domains import Images, Vectors, in_unit_range
from distvae.drawings import label_column, write_rows
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
    are many, and of the first attribute, where there are several), and
    ``reconstructions-NNNN.png``, pairs of which the original is above, of the first images of the
    split. Of vectors: ``epoch-NNNN.csv``, some generated rows of each label, and
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
    images, _, _ = _samples(model, seed)
    save_grid(path, to_uint8(images.cpu().numpy()), COLUMNS)


def _samples(model: VAE, seed: int) -> tuple[Tensor, list[str], list[list[str]]]:
    """Examples, the names of what they are given, and each of that in words.

    Of several attributes a row has one label of the first, and those of the others in turn.
    """
    names = model.label_names[:MOST_ROWS]
    if names:
        words = [[name for name in names for _ in range(COLUMNS)]]
        return model.sample(labels=names, n=COLUMNS, seed=seed), ["label"], words
    if not model.attributes:
        return model.sample(n=COLUMNS * COLUMNS, seed=seed), [], []
    asked = usual_rows(model.attributes, MOST_ROWS)
    each = COLUMNS if len(asked.rows) > 1 else COLUMNS * COLUMNS
    given, total = asked.given(each), each * len(asked.rows)
    images = torch.cat(list(model.sample_given(total, given, seed)))
    words = written(given(np.arange(total)), model.attributes)
    return images, [attribute.name for attribute in model.attributes], words


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
    samples, names, words = _samples(model, seed)
    known = [label_column(domain.columns)] if names == ["label"] else names
    drawn = domain.to_stored(samples).cpu().numpy()
    write_rows(path, [*domain.columns, *known], [(drawn, words)])


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
