"""The evidence lower bound and the use of the latents over a split, on any number of processes.

Legend: B batch, Z latent dimensions.
"""

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from distvae.data.batches import ResidentImages
from distvae.data.inputs import NoiseSource, to_input
from distvae.models import VAE

BLOCK = 500
ACTIVE_VARIANCE = 0.01
"""Variance of the posterior mean over the data above which a latent counts as active (Burda et al.
2016, arXiv:1509.00519, section 5.1)."""


@torch.no_grad()
def elbo_metrics(
    model: VAE,
    images: ResidentImages,
    binarize: str,
    seed: int,
    rank: int = 0,
    world_size: int = 1,
    reduce: Callable[[Tensor], Tensor] = lambda sums: sums,
    advance: Callable[[int], None] = lambda count: None,
) -> Iterator[tuple[str, float]]:
    """Single-draw elbo of every image of a split, and the active units.

    The split is cut into fixed blocks, each with its own random numbers, and processes take blocks
    in turn and add up sums, so the result depends neither on the number of processes nor on a
    ragged last block.

    Args:
        model: in evaluation mode, on the device of ``images``.
        images: the split.
        binarize: see :func:`distvae.data.inputs.to_input`.
        seed: seed of the draws from the posterior and of dynamic binarization.
        rank: number of this process.
        world_size: number of processes.
        reduce: sums a tensor over processes.
        advance: told the number of images done.

    Yields:
        ``elbo`` (the bound itself, negative), ``distortion``, ``rate``, in nats per image;
        ``elbo_standard_error`` over the images; ``bits_per_dim`` of the bound in grey levels, or of
        black-and-white pixels after binarization; ``active_units`` and ``latent_dim``.
    """
    pixel_shape = model.image_shape if binarize == "dynamic" else None
    device = images.device
    source = NoiseSource(seed, "evaluation", model.config.latent_dim, pixel_shape, device)
    size = len(images.images)
    sums = torch.zeros(4, dtype=torch.float64, device=device)
    moments = torch.zeros(2, model.config.latent_dim, dtype=torch.float64, device=device)
    for block in range(rank, -(-size // BLOCK), world_size):
        rows = torch.arange(block * BLOCK, min(size, (block + 1) * BLOCK))
        grey, labels = images.gather(rows)
        noise = source.draw(block, BLOCK).at(slice(0, len(rows)))
        terms = VAE.forward(  # not model(...): Accelerate may have put lower precision around that
            model,
            to_input(grey, binarize, noise.pixels),
            labels if model.conditional else None,
            noise.latent,
        )
        distortion, rate = -terms.log_likelihood.double(), terms.rate.double().sum(1)
        bound = -(distortion + rate)
        count = bound.new_tensor(len(rows))
        sums += torch.stack([distortion.sum(), rate.sum(), bound.square().sum(), count])
        mean = terms.posterior.mean.double()
        moments += torch.stack([mean.sum(0), mean.square().sum(0)])
        advance(len(rows))
    sums, moments = reduce(sums), reduce(moments)
    distortion_sum, rate_sum, square_sum, total = sums.tolist()
    bound_mean = -(distortion_sum + rate_sum) / total
    deviation = math.sqrt(max(0.0, square_sum / total - bound_mean**2))
    dims = math.prod(model.image_shape)
    first, second = moments / total
    yield "elbo", bound_mean
    yield "distortion", distortion_sum / total
    yield "rate", rate_sum / total
    yield "elbo_standard_error", deviation / math.sqrt(total)
    yield "bits_per_dim", (-bound_mean / dims + model.likelihood.quantization) / math.log(2.0)
    yield "active_units", float((second - first.square() > ACTIVE_VARIANCE).sum())
    yield "latent_dim", float(model.config.latent_dim)
