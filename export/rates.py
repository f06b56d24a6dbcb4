"""How much each number of the noise says of an image: which latents a page shows first.

Legend: N images, B of them together, K draws of a posterior, D numbers of the noise.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from distvae.data.batches import ResidentImages
from distvae.data.store import Split
from distvae.draws.normals import standard_normal
from distvae.draws.philox import Stream
from distvae.evaluation.passes import Block, Pass, through
from distvae.export.turns import NOISES, given_in
from distvae.models import VAE
from distvae.places import spaced

IMAGES = 500
"""At most, evenly over the split."""
TOGETHER = 20
"""Images in a block: each has many draws."""
DRAWS = 64
"""Of a posterior, or twice as many as it has latents, if that is more."""
SEED = 0


@dataclass(frozen=True)
class Rates:
    """The rate of each number of the noise, in nats."""

    values: tuple[float | None, ...]
    """None of those that choose a component of a mixture, of which it is not known."""
    images: str
    """What it was measured on, in words."""


@torch.no_grad()
def rates(model: VAE, split: Split | None) -> Rates:
    """The mean over images of what each number of the noise has of the rate.

    Where the rate has a closed form these are its parts and sum to it. Else each is
    KL(N(m, s^2) || N(0, 1)), where m and s are mean and standard deviation of that number over the
    noise which the prior would turn into draws of the image's posterior.

    Args:
        model: on the CPU; it finds the noise of latents.
        split: test images; None takes images that the model draws.
    """
    images = _own(model) if split is None else ResidentImages.from_split(split)
    rows = torch.arange(len(images))[spaced(len(images), IMAGES)]
    dim, space = model.latents.infer_dim, model.latents
    noise = _even(max(DRAWS, 2 * dim), dim)

    def of_images(block: Block) -> Tensor:
        batch = block.batch
        context = model.conditioner(batch.conditions)
        features = model.features(model.inputs_of(batch), context)
        given = noise.expand(len(batch.stored), -1, -1)
        draws = space.infer(features, given, context, draws=len(noise))
        known = torch.cat([draw.rate.double().flatten(1) for draw in draws], 1)
        if known.shape[1] == space.noise_dim:
            return known
        many = None if context is None else context.repeated(len(noise))
        found = space.noise_for(tuple(draw.rows for draw in draws), many).double()
        variance, mean = torch.var_mean(found.view(*given.shape[:2], -1), 1, correction=0)
        variance = variance.clamp_min(torch.finfo(torch.float32).tiny)
        return 0.5 * (mean.square() + variance - 1.0 - variance.log())

    way = Pass(model, images, SEED, Stream.EVALUATION, rows)
    mean = torch.cat(list(through(of_images, way, size=TOGETHER))).mean(0).tolist()
    choosing = space.noise_dim - dim
    values = (*[None] * choosing, *mean[choosing:])
    what = "images that the model drew" if split is None else "test images"
    return Rates(values, f"{len(rows):,} {what}")


def _even(count: int, dim: int) -> Tensor:
    """Noise ``[K, Z]`` of mean 0 and covariance 1 exactly."""
    drawn = standard_normal(SEED, 0, count, dim).astype(np.float64)
    orthogonal, _ = np.linalg.qr(drawn - drawn.mean(0))
    return torch.from_numpy((np.sqrt(count) * orthogonal).astype(np.float32))


def _own(model: VAE) -> ResidentImages:
    """Images that the model draws, each label in its turn."""
    given, labels, values = given_in(model, 0), None, None
    if given.values is None:
        drawn = model.sample(n=NOISES, seed=SEED)
    elif model.label_names:
        labels = torch.from_numpy(given.values[:, 0]).long()
        drawn = model.sample(given.asked(), seed=SEED)
    else:
        known, values = given.values, torch.from_numpy(given.values)
        drawn = torch.cat(list(model.sample_given(NOISES, lambda rows: known[rows], SEED)))
    return ResidentImages(model.domain.to_stored(drawn), labels, torch.device("cpu"), values)
