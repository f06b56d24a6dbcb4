"""The log-likelihood of test images, by importance sampling.

Legend: B batch, K draws for an image, L labels, N images, Z latent dimensions.
"""

import math
from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from distvae.blocks import in_blocks, measured
from distvae.conditions import Context
from distvae.data.batches import ResidentImages
from distvae.draws.philox import Stream
from distvae.draws.steps import NoiseSource
from distvae.evaluation.passes import ALONE, Advance, Block, Pass, Share, unwatched
from distvae.evaluation.uncertainty import estimate_metrics, mean_of, spread_metrics
from distvae.latents import Features
from distvae.models import VAE

BLOCK = 20
"""Images that go through the encoder together on a CPU."""
DRAWS = 50
"""Draws of an image whose noise is one step: of their number the noise is a function."""
VALUES = 4_000_000
"""Pixels and channels that are decoded together on a CPU, unless a single image has more."""


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
    seed: int,
    draws: int,
    label: int | None = None,
    share: Share = ALONE,
    advance: Advance = unwatched,
) -> Estimate:
    """Log of the mean over K draws of p(x|z) p(z) / q(z|x) (Burda et al. 2016, eq. 8).

    Its mean is below log p(x), the less the larger K. The noise of an image depends on the seed and
    its number alone: the result is the same on any number of processes, and a larger K adds to the
    draws of a smaller one.

    Args:
        model: in evaluation mode, on the device of ``images``. Conditional: p(x|y) is estimated.
        images: the split.
        seed: of the draws from the posterior and of dynamic binarization, of which one is taken of
            each image.
        draws: K.
        label: for all images, of a conditional model; None for the label of each.
        share: of this process.
        advance: told the number of images done.
    """
    size, device = len(images), images.device
    way = Pass(model, images, seed, noise_dim=1)
    latents = NoiseSource(seed, Stream.IMPORTANCE, model.latents.infer_dim, None, device, DRAWS)
    turns = -(-draws // DRAWS)

    def weigh(part: slice, turns: int = turns, advance: Advance = unwatched) -> Tensor:
        """Logarithms of the sums of the weights of images and of their squares ``[2, B]``."""
        count, sight = part.stop - part.start, _sight(model, way.at(part), label)
        sums = torch.full((2, count), -math.inf, dtype=torch.float64, device=device)
        for turn in range(turns):
            noise = latents.draw(turn, part).noise[:, : draws - turn * DRAWS]
            weights = _log_weights(model, sight, noise)
            both = torch.stack([weights.logsumexp(1), (2.0 * weights).logsumexp(1)])
            sums = torch.logaddexp(sums, both)
            advance(count * (turn + 1) // turns - count * turn // turns)
        return sums

    usual = max(1, min(BLOCK, VALUES // (math.prod(model.domain.shape) * min(DRAWS, draws))))
    rows = share.rows(size, usual)
    fits = measured(partial(weigh, turns=1), min(usual, size), device)
    sums = torch.zeros(2, size, dtype=torch.float64, device=device)
    for part, found in in_blocks(
        lambda part: (part, weigh(part, advance=advance)), rows, fits, device
    ):
        sums[:, part] = found
    first, second = share.reduce(sums).cpu()
    return Estimate(first - math.log(draws), torch.exp(2.0 * first - second))


class _Sight(NamedTuple):
    """What is drawn for, image by image."""

    features: Features
    inputs: Tensor
    """``[B, *S]``."""
    context: Context | None


def _sight(model: VAE, block: Block, label: int | None) -> _Sight:
    context = model.conditioner(block.batch.conditions)
    if label is not None:
        context = model.conditioner.of_label(torch.full_like(block.rows, label).to(model.device))
    inputs = model.inputs_of(block.batch)
    return _Sight(model.features(inputs, context), inputs, context)


def _log_weights(model: VAE, sight: _Sight, noise: Tensor) -> Tensor:
    """Log p(x|z) + log p(z) - log q(z|x) of every draw ``[B, K]``, float64."""
    terms = model.terms_given(*sight, noise, noise.shape[1], densities=True)
    return terms.log_likelihood.double() + terms.log_p - terms.log_q


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
    yield from estimate_metrics(name, mean_of(estimate.log_likelihood))
    yield f"{name}_effective_draws", float(estimate.effective.median())
    if labels is None:
        return
    found = []
    for number, label_name in enumerate(label_names):
        own = estimate.log_likelihood[labels == number]
        if len(own):
            found.append(mean_of(own))
            yield from estimate_metrics(f"{name}/{label_name}", found[-1])
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
