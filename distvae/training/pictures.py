"""Sample sheets and reconstructions of a run in training."""

from pathlib import Path

import torch

from distvae.conditions import Conditions
from distvae.data.batches import ResidentImages
from distvae.domains import Images, in_unit_range
from distvae.images import paired, save_grid, to_uint8
from distvae.models import VAE

COLUMNS = 10
MOST_ROWS = 20


@torch.no_grad()
def write_pictures(model: VAE, images: ResidentImages, seed: int, folder: Path, epoch: int) -> None:
    """Write ``epoch-NNNN.png`` and ``reconstructions-NNNN.png`` into a folder.

    One row of samples per label (of the first labels, where there are many); reconstructions come
    in pairs, the original above, of the first images of the split. Both use the same noise every
    time, so that two epochs can be compared. Of examples that are no images nothing is drawn.
    """
    if not isinstance(model.domain, Images):
        return
    labels = model.label_names[:MOST_ROWS]
    samples = (
        model.sample(labels=labels, n=COLUMNS, seed=seed)
        if labels
        else model.sample(n=COLUMNS * COLUMNS, seed=seed)
    )
    save_grid(folder / f"epoch-{epoch:04d}.png", to_uint8(samples.cpu().numpy()), COLUMNS)

    count = min(5 * COLUMNS, len(images.stored))
    if not count:
        return
    stored, *known = images.gather(torch.arange(count))
    inputs = model.domain.to_expected_input(stored)
    given = Conditions.of_examples(*known) if model.conditional else None
    context = model.conditioner(given)
    decoded = model.render(model.infer(inputs, context).mean, context)
    columns = min(COLUMNS, count)
    halves = [to_uint8(half.cpu().numpy()) for half in (in_unit_range(stored), decoded)]
    sheet = paired(halves[0], halves[1], columns)
    save_grid(folder / f"reconstructions-{epoch:04d}.png", sheet, columns)
