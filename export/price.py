"""What a smaller file costs: how well its images obey their label, and what calibrates it.

Legend: B batch.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from distvae.config import DataConfig
from distvae.data.batches import ResidentImages
from distvae.data.cache import cache_folder
from distvae.data.store import ImageData
from distvae.draws.normals import standard_normal
from distvae.evaluation.ensemble import Ensemble, get_judges
from distvae.evaluation.generation import images_per_label
from distvae.export.quantize import CALIBRATION_BATCH, CALIBRATION_IMAGES, Feed
from distvae.export.sampler import Sampler
from distvae.models import VAE
from distvae.terminal import progress_bar

SEED = 0


@torch.no_grad()
def calibration(model: VAE, data: ImageData) -> tuple[list[Feed], list[Feed]]:
    """Inputs of decoder and encoder made from training images, taken evenly.

    The decoder's noise is what its prior would turn into the posterior's latents of these images,
    or any noise where the prior cannot say.
    """
    images = ResidentImages.from_split(data.train)
    rows = torch.arange(0, len(data.train), max(1, len(data.train) // CALIBRATION_IMAGES))
    decoder: list[Feed] = []
    encoder: list[Feed] = []
    for number, part in enumerate(torch.split(rows[:CALIBRATION_IMAGES], CALIBRATION_BATCH)):
        grey, labels, _ = images.gather(part)
        y = labels if model.conditional else None
        context = model.conditioner.of_label(y)
        inputs, space = model.domain.to_expected_input(grey), model.latents
        start = number * CALIBRATION_BATCH
        if space.invertible:
            noise = standard_normal(SEED, start, len(part), space.infer_dim)
            latents = model.drawn(inputs, context, torch.from_numpy(noise))
            noise = space.whiten(latents, context).numpy()
        else:
            noise = standard_normal(SEED, start, len(part), space.noise_dim)
        label = {} if y is None else {"label": y.numpy()}
        decoder.append({"noise": noise, **label})
        encoder.append({"image": grey.numpy(), **label})
    return decoder, encoder


def judges_of(data: ImageData, settings: DataConfig) -> Ensemble:
    """The judges of a run's data (see :mod:`distvae.evaluation.ensemble`)."""
    return get_judges(data, cache_folder(settings), "cpu", progress_bar)


def judged(path: Path, judges: Ensemble, advance: Callable[[int], None]) -> dict[str, float]:
    """Share of a decoder's images that judges take for their label, by name of the label."""
    sampler = Sampler(path)
    names = sampler.label_names
    shares = {}
    for label, name in enumerate(names):
        hits = []
        for images in sampler.stream(
            [name], images_per_label(len(names)), SEED * len(names) + label
        ):
            found = judges.classify(sampler.manifest.domain.to_values(torch.from_numpy(images)))
            hits.append((found == label).numpy())
        shares[name] = float(np.concatenate(hits).mean())
        advance(1)
    return shares
