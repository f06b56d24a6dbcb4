"""The log-likelihood of test images, by importance sampling.

Legend: B batch, K draws for an image, L labels, N images, Z latent dimensions.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from distvae.data.batches import ResidentImages
from distvae.data.inputs import NoiseSource, to_input
from distvae.evaluation.uncertainty import Estimate as Uncertain
from distvae.evaluation.uncertainty import estimate_metrics, spread_metrics
from distvae.models import VAE

BLOCK, DRAWS = 20, 50
"""Images and draws whose noise is drawn together: of them a number is a function, of no more."""
VALUES = 4_000_000
"""Pixels and channels that are decoded together; a matter of memory alone."""


class Estimate(NamedTuple):
    """Of each image ``[N]``."""

    log_likelihood: Tensor
    """Nats."""
    effective: Tensor
    """The draws that so many of even weight would be worth: (sum w)^2 / sum w^2 (Kong 1992)."""


@torch.no_grad()
def log_likelihood(
    model: VAE,
    images: ResidentImages,
    binarize: str,
    seed: int,
    draws: int,
    label: int | None = None,
    rank: int = 0,
    world_size: int = 1,
    reduce: Callable[[Tensor], Tensor] = lambda values: values,
    advance: Callable[[int], None] = lambda count: None,
) -> Estimate:
    """Log of the mean over K draws of p(x|z) p(z) / q(z|x) (Burda et al. 2016, eq. 8).

    Its mean is below log p(x), the less the larger K. The noise of an image depends on the seed and
    its number alone: the result is the same on any number of processes, and a larger K adds to the
    draws of a smaller one.

    Args:
        model: in evaluation mode, on the device of ``images``. Conditional: p(x|y) is estimated.
        images: the split.
        binarize: see :func:`distvae.data.inputs.to_input`; dynamic takes one draw of each image.
        seed: of the draws from the posterior and of dynamic binarization.
        draws: K.
        label: for all images, of a conditional model; None for the label of each.
        rank: number of this process.
        world_size: number of processes.
        reduce: sums a tensor over processes.
        advance: told the number of images done.
    """
    size, device = len(images.images), images.device
    pixel_shape = model.image_shape if binarize == "dynamic" else None
    pixels = NoiseSource(seed, "evaluation", 1, pixel_shape, device)
    latents = NoiseSource(seed, "importance", model.config.latent_dim, None, device, DRAWS)
    turns = -(-draws // DRAWS)
    sums = torch.full((2, size), -math.inf, dtype=torch.float64, device=device)
    for block in range(rank, -(-size // BLOCK), world_size):
        rows = torch.arange(block * BLOCK, min(size, (block + 1) * BLOCK))
        grey, labels = images.gather(rows)
        if not model.conditional:
            labels = None
        elif label is not None:
            labels = torch.full((len(rows),), label, device=device)
        inputs = to_input(grey, binarize, pixels.draw(block, BLOCK).at(slice(0, len(rows))).pixels)
        for turn in range(turns):
            count = min(DRAWS, draws - turn * DRAWS)
            noise = latents.draw((block << 32) + turn, BLOCK).latent[: len(rows), :count]
            weights = _log_weights(model, inputs, labels, noise)
            both = torch.stack([weights.logsumexp(1), (2.0 * weights).logsumexp(1)])
            sums[:, rows] = torch.logaddexp(sums[:, rows], both)
        advance(len(rows))
    held = sums[0].isfinite()
    first, second = reduce(torch.where(held, sums, 0.0))
    return Estimate(first - math.log(draws), torch.exp(2.0 * first - second))


def _log_weights(model: VAE, images: Tensor, labels: Tensor | None, noise: Tensor) -> Tensor:
    """Log p(x|z) + log p(z) - log q(z|x) of every draw ``[B, K]``, float64."""
    each = max(1, VALUES // (images[0].numel() * noise.shape[1]))
    parts = []
    for start in range(0, len(images), each):
        part = slice(start, start + each)
        y = None if labels is None else labels[part]
        # not model(...): Accelerate may have put lower precision around that
        terms = model.terms(images[part], y, noise[part])
        assert terms.log_prior is not None
        assert terms.log_posterior is not None
        parts.append(terms.log_likelihood.double() + terms.log_prior - terms.log_posterior)
    return torch.cat(parts)


def likelihood_metrics(
    estimate: Estimate, labels: Tensor | None, label_names: Sequence[str], name: str
) -> Iterator[tuple[str, float]]:
    """Means over images, with their standard errors.

    Args:
        estimate: of each image.
        labels: ``[N]`` int64, None without labels.
        label_names: of these labels.
        name: of the figure.

    Yields:
        ``NAME``, nats per image, ``NAME_standard_error`` and ``NAME_effective_draws``, the median;
        then with labels ``NAME/LABEL`` with its standard error, and ``NAME_spread`` between
        the label served best and the one served worst.
    """
    yield from estimate_metrics(name, _mean(estimate.log_likelihood))
    yield f"{name}_effective_draws", float(estimate.effective.median())
    if labels is None:
        return
    found = []
    for number, told in enumerate(label_names):
        own = estimate.log_likelihood[labels == number]
        if len(own):
            found.append(_mean(own))
            yield from estimate_metrics(f"{name}/{told}", found[-1])
    if found:
        yield from spread_metrics(name, found)


def marginal(by_label: Sequence[Estimate], shares: Tensor) -> Estimate:
    """Log p(x), the sum over labels of p(y) p(x|y).

    Args:
        by_label: the images' estimates under each label.
        shares: p(y) ``[L]``.
    """
    joint = torch.stack([estimate.log_likelihood for estimate in by_label], 1)
    joint = joint + shares.to(joint).log()
    effective = torch.stack([estimate.effective for estimate in by_label], 1)
    most = joint.argmax(1, keepdim=True)
    return Estimate(joint.logsumexp(1), effective.gather(1, most).squeeze(1))


def _mean(values: Tensor) -> Uncertain:
    error = float(values.std()) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return Uncertain((float(values.mean()),), error)
