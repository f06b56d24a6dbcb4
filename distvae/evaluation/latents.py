"""What the latents of a split hold, and how far they are from the prior.

Legend: B batch, M posteriors, N images, Z latent dimensions.
"""

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from distvae.data.batches import ResidentImages
from distvae.data.inputs import NoiseSource, to_input
from distvae.distributions import LOG_TWO_PI
from distvae.models import VAE

BLOCK = 500
MOST = 20_000
"""Images; every latent meets every posterior of its label, so time grows with the square."""


@torch.no_grad()
def latent_metrics(
    model: VAE,
    images: ResidentImages,
    binarize: str,
    seed: int,
    advance: Callable[[int], None] = lambda count: None,
) -> Iterator[tuple[str, float]]:
    """The parts of the rate (Hoffman and Johnson 2016, ELBO surgery, eq. 7 to 9).

    The mean KL of posterior to prior is the mutual information of image and latents plus the KL of
    the aggregate posterior q(z), the mean of q(z|x) over the images, to the prior. Of a conditional
    model each label has its own q(z|y), and the information is what the latents say beyond the
    label. Of N images no more than log N nats can be told apart: an estimate near that bound is too
    low, and the aggregate posterior's KL too high by as much.

    Args:
        model: in evaluation mode, on the device of ``images``.
        images: the split, of which at most ``MOST`` images are taken, evenly.
        binarize: see :func:`distvae.data.inputs.to_input`.
        seed: of the draws from the posterior and of dynamic binarization.
        advance: told the number of images done.

    Yields:
        ``rate_latent_J`` of each latent where the KL has a closed form, else nothing of them; for
        Gaussian posteriors ``mutual_information`` and ``aggregate_kl``, nats, each followed by its
        ``_standard_error`` over the images, and ``mutual_information_limit``.
    """
    size, device = len(images.images), images.device
    pixel_shape = model.image_shape if binarize == "dynamic" else None
    source = NoiseSource(seed, "evaluation", model.config.latent_dim, pixel_shape, device)
    chosen = torch.arange(0, size, -(-size // MOST))
    rates, tables, groups = [], [], []
    for block, rows in enumerate(torch.split(chosen, BLOCK)):
        grey, labels = images.gather(rows)
        noise = source.draw(block, BLOCK).at(slice(0, len(rows)))
        inputs = to_input(grey, binarize, noise.pixels)
        y = labels if model.conditional else None
        posterior = model.infer(inputs, y)
        z = posterior.sample(noise.latent)
        rate = model.prior.kl(posterior, y)
        if rate is not None:
            rates.append(rate.double())
        density = [model.prior.log_prob(z, y), posterior.log_prob(z)]
        part = [z, posterior.base.mean, posterior.base.log_variance, torch.stack(density, 1)]
        tables.append(torch.cat(part, 1).double())
        groups.append(torch.zeros_like(rows) if y is None else y)
        advance(len(rows))
    if rates:
        for latent, value in enumerate(torch.cat(rates).mean(0).tolist()):
            yield f"rate_latent_{latent}", value
    if model.flow is not None:
        return
    found = torch.cat(tables)
    yield from _parts(found, torch.cat(groups), model.config.latent_dim)


def _parts(table: Tensor, labels: Tensor, dim: int) -> Iterator[tuple[str, float]]:
    z, mean, log_variance, densities = torch.split(table, [dim, dim, dim, 2], dim=1)
    prior, own = densities.unbind(1)
    aggregate, limit = torch.empty_like(own), 0.0
    for label in torch.unique(labels):
        group = (labels == label).nonzero().squeeze(1)
        posteriors = mean[group], log_variance[group]
        for rows in torch.split(group, BLOCK):
            aggregate[rows] = log_aggregate(z[rows], *posteriors)
        limit += len(group) / len(labels) * math.log(len(group))
    for name, values in (
        ("mutual_information", own - aggregate),
        ("aggregate_kl", aggregate - prior),
    ):
        yield name, float(values.mean())
        yield f"{name}_standard_error", float(values.std()) / math.sqrt(len(values))
    yield "mutual_information_limit", limit


def log_aggregate(z: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """Log-density of the mean of M diagonal Gaussians.

    The squares are multiplied out, so that one product gives them all: for float64.

    Args:
        z: ``[B, Z]``.
        mean: ``[M, Z]``.
        log_variance: ``[M, Z]``.

    Returns:
        Nats ``[B]``.
    """
    precision = torch.exp(-log_variance)
    constant = (mean.square() * precision + log_variance + LOG_TWO_PI).sum(1)
    squares = z.square() @ precision.T - 2.0 * z @ (mean * precision).T + constant
    return torch.logsumexp(-0.5 * squares, 1) - math.log(len(mean))
