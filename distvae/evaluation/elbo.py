"""The evidence lower bound and the use of the latents over a split, on any number of processes.

Legend: B batch, Z latent dimensions.
"""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from distvae.data.batches import ResidentImages
from distvae.domains import Domain, Images
from distvae.evaluation.passes import ALONE, Advance, Block, Pass, Share, through, unwatched
from distvae.evaluation.uncertainty import Estimate, estimate_metrics, spread_metrics
from distvae.figures import OF_LEVEL
from distvae.latents import Draw, Level, side_by_side
from distvae.likelihoods.bernoulli import Bernoulli
from distvae.models import VAE

ACTIVE_VARIANCE = 0.01
"""Variance of the posterior mean over the data above which a latent counts as active (Burda et al.
2016, arXiv:1509.00519, section 5.1)."""


@torch.no_grad()
def elbo_metrics(
    model: VAE,
    images: ResidentImages,
    seed: int,
    share: Share = ALONE,
    advance: Advance = unwatched,
    label_names: Sequence[str] = (),
) -> Iterator[tuple[str, float]]:
    """Single-draw elbo of every image of a split, and the active units.

    Processes add up sums, so the result does not depend on their number.

    Args:
        model: in evaluation mode, on the device of ``images``.
        images: the split.
        seed: seed of the draws from the posterior and of dynamic binarization.
        share: of this process.
        advance: told the number of images done.
        label_names: of the labels that are told apart, if any.

    Yields:
        ``elbo`` (the bound itself, negative), ``distortion``, ``rate``, in nats per image;
        ``bits_per_dim`` of the bound in grey levels, or of black-and-white pixels after
        binarization; each with its ``_standard_error`` over the images; ``active_units`` and
        ``latent_dim`` of real latents; of codes ``code_usage``, the share of the book that the
        split uses, ``code_perplexity`` and ``codes``, the size of the book; of several levels of
        latents ``rate_level_NAME`` and the same of each; then with labels ``elbo/NAME``, its
        ``elbo/NAME_standard_error``, and ``elbo_spread`` between the label served best and the one
        served worst.
        Errors need two images; bits per pixel a likelihood, and a Bernoulli of grey levels as they
        are is none.
    """
    size, levels = len(images), model.latents.levels
    sums = _summed(model, images, seed, share, advance, len(label_names))
    means, squares = (sums.bounds / size).view(2, 3)
    distortion, rate, bound = means.tolist()
    errors = ((squares - means.square()).clamp_min(0.0) / max(1, size - 1)).sqrt().tolist()
    dims = math.prod(model.domain.shape)
    yield "elbo", bound
    yield "distortion", distortion
    yield "rate", rate
    for name, error in zip(("distortion", "rate", "elbo"), errors, strict=True):
        if size > 1:
            yield f"{name}_standard_error", error
    cross_entropy = bool(sums.between) and is_cross_entropy(model)
    if not cross_entropy and model.domain.levels is not None:
        yield "bits_per_dim", (-bound / dims + model.likelihood.quantization) / math.log(2.0)
        if size > 1:
            yield "bits_per_dim_standard_error", errors[2] / dims / math.log(2.0)
    yield from _use(levels, sums.moments / size, sums.rates / size)
    yield from _use_of_codes(levels, sums.codes)
    yield from _of_labels(sums.by_label, label_names)


class _Sums(NamedTuple):
    """What is added up over a split, float64."""

    bounds: Tensor
    """Distortion, rate, bound and their squares ``[6]``."""
    between: Tensor
    """How many grey levels are neither black nor white ``[1]``."""
    moments: Tensor
    """Posterior means of real latents and their squares ``[2, Z]``."""
    rates: Tensor
    """Of each level of latents."""
    codes: Tensor
    """How often each code of each level of codes is used, side by side."""
    by_label: Tensor
    """Powers 0 to 2 of the bound ``[L, 3]``."""


def _summed(
    model: VAE,
    images: ResidentImages,
    seed: int,
    share: Share,
    advance: Advance,
    labels: int,
) -> _Sums:
    """The sums of one pass over a split, of all processes, on the CPU."""
    levels = model.latents.levels
    latents = sum(real_sizes(levels))
    shapes = ((6,), (1,), (2, latents), (len(levels),), (sum(codes_of(levels)),), (labels, 3))
    sizes = [math.prod(shape) for shape in shapes]
    total = torch.zeros(sum(sizes), dtype=torch.float64, device=images.device)

    def sums_of(block: Block) -> Tensor:
        return torch.cat([part.flatten() for part in _block_sums(model, block, labels)])

    for sums in through(sums_of, Pass(model, images, seed), share=share, advance=advance):
        total += sums
    parts = torch.split(share.reduce(total).cpu(), sizes)
    return _Sums(*(part.view(shape) for part, shape in zip(parts, shapes, strict=True)))


def _block_sums(model: VAE, block: Block, labels: int) -> _Sums:
    stored = block.batch.stored
    terms = model.terms(block.batch)  # not model(...): Accelerate may have put bf16 around that
    distortion, rate = -terms.log_likelihood.double(), terms.rate.double().sum(1)
    bound = -(distortion + rate)
    values, mean = torch.stack([distortion, rate, bound]), means_of(terms.draws).double()
    by_label = bound.new_zeros(labels + 1, 3)  # the last row is of unknown labels
    if labels and block.labels is not None:
        powers = torch.stack([torch.ones_like(bound), bound, bound.square()], 1)
        own = block.labels.to(bound.device)
        by_label.index_add_(0, torch.where(own < 0, labels, own), powers)
    return _Sums(
        torch.cat([values.sum(1), values.square().sum(1)]),
        grey_pixels(model.domain, stored),
        torch.stack([mean.sum(0), mean.square().sum(0)]),
        torch.stack([draw.rate.double().sum() for draw in terms.draws]),
        _counted(terms.draws, model.latents.levels, bound),
        by_label[:labels],
    )


def _use(levels: tuple[Level, ...], moments: Tensor, rates: Tensor) -> Iterator[tuple[str, float]]:
    """How many latents are active of how many; of several levels also of each, with its rate.

    Args:
        levels: of the latents.
        moments: means and mean squares of the posterior means ``[2, Z]``.
        rates: of each level, nats.
    """
    first, second = moments
    active = second - first.square() > ACTIVE_VARIANCE
    if len(active):
        yield "active_units", float(active.sum())
        yield "latent_dim", float(len(active))
    if len(levels) == 1:
        return
    for level, rate in zip(levels, rates.tolist(), strict=True):
        yield f"rate{OF_LEVEL}{level.name}", rate
    real = [level for level in levels if level.kind == "real"]
    for level, part in zip(real, active.split(real_sizes(levels)), strict=True):
        yield f"active_units{OF_LEVEL}{level.name}", float(part.sum())
        yield f"latent_dim{OF_LEVEL}{level.name}", float(level.size)


def _use_of_codes(levels: Sequence[Level], counts: Tensor) -> Iterator[tuple[str, float]]:
    """How much of a code book a whole split uses.

    Args:
        levels: of the latents.
        counts: how often each code is used, level by level.
    """
    books = [level for level in levels if level.codes]
    for level, part in zip(books, torch.split(counts, codes_of(levels)), strict=True):
        shares = part / part.sum()
        end = f"{OF_LEVEL}{level.name}" if len(levels) > 1 else ""
        yield f"code_usage{end}", float((part > 0).double().mean())
        yield f"code_perplexity{end}", math.exp(float(torch.special.entr(shares).sum()))
        yield f"codes{end}", float(level.codes)


def _counted(draws: Sequence[Draw], levels: Sequence[Level], like: Tensor) -> Tensor:
    """How often each code is used, level by level."""
    counts = [like.new_zeros(size) for size in codes_of(levels)]
    found = [draw.codes.flatten() for draw in draws if draw.codes is not None]
    for count, codes in zip(counts, found, strict=True):
        count.index_add_(0, codes, torch.ones_like(codes, dtype=count.dtype))
    return torch.cat([like.new_zeros(0), *counts])


def codes_of(levels: Sequence[Level]) -> list[int]:
    """How many codes each level of codes has."""
    return [level.codes for level in levels if level.codes]


def real_sizes(levels: Sequence[Level]) -> list[int]:
    """How many latents each level of real numbers has."""
    return [level.size for level in levels if level.kind == "real"]


def means_of(draws: Sequence[Draw]) -> Tensor:
    """Means of the posteriors of real latents, level by level ``[B, Z]``."""
    means = tuple(draw.posterior.mean for draw in draws if draw.posterior)
    return side_by_side(means) if means else draws[0].rate.new_zeros(draws[0].rate.shape[0], 0)


def grey_pixels(domain: Domain, stored: Tensor) -> Tensor:
    """How many levels lie between black and white; 0 of examples of no levels."""
    if domain.levels is None:
        return torch.zeros((), dtype=torch.float64, device=stored.device)
    values = domain.to_values(stored)
    return ((values > 0) & (values < 1)).sum(dtype=torch.float64)


def is_cross_entropy(model: VAE) -> bool:
    """Whether grey levels are taken as probabilities of white, which is no likelihood of them."""
    domain = model.domain
    plain = isinstance(domain, Images) and domain.binarize == "none"
    return plain and isinstance(model.likelihood, Bernoulli)


def _of_labels(sums: Tensor, names: Sequence[str]) -> Iterator[tuple[str, float]]:
    """Means of those labels that there are images of; ``sums [L, 3]`` of powers 0 to 2."""
    found = {}
    for name, (count, total, squares) in zip(names, sums.tolist(), strict=True):
        if count:
            mean = total / count
            variance = max(0.0, squares / count - mean**2) / (count - 1) if count > 1 else math.nan
            found[name] = Estimate((mean,), math.sqrt(variance))
            yield from estimate_metrics(f"elbo/{name}", found[name])
    if found:
        yield from spread_metrics("elbo", list(found.values()))
