"""The evidence lower bound and the use of the latents over a split, on any number of processes.

Legend: B batch, Z latent dimensions.
"""

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from distvae.data.batches import ResidentImages
from distvae.domains import Images
from distvae.domains.images import WHITE
from distvae.evaluation.passes import ALONE, Advance, Share, blocks, unwatched
from distvae.evaluation.uncertainty import Estimate, estimate_metrics, spread_metrics
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
        ``latent_dim``; then with labels ``elbo/NAME``, its ``elbo/NAME_standard_error``, and
        ``elbo_spread`` between the label served best and the one served worst.
        Errors need two images; bits per pixel a likelihood, and a Bernoulli of grey levels as they
        are is none.
    """
    device, size = images.device, len(images)
    sums = torch.zeros(6, dtype=torch.float64, device=device)
    between = torch.zeros(1, dtype=torch.float64, device=device)
    moments = torch.zeros(2, model.config.latent_dim, dtype=torch.float64, device=device)
    by_label = torch.zeros(len(label_names), 3, dtype=torch.float64, device=device)
    for _, labels, batch in blocks(model, images, seed, share=share, advance=advance):
        between += ((batch.stored > 0) & (batch.stored < WHITE)).sum()
        terms = model.terms(batch)  # not model(...): Accelerate may have put bf16 around that
        distortion, rate = -terms.log_likelihood.double(), terms.rate.double().sum(1)
        bound = -(distortion + rate)
        values = torch.stack([distortion, rate, bound])
        sums += torch.cat([values.sum(1), values.square().sum(1)])
        if label_names and labels is not None:
            powers = torch.stack([torch.ones_like(bound), bound, bound.square()], 1)
            known = labels.to(device) >= 0
            by_label.index_add_(0, labels.to(device)[known], powers[known])
        mean = terms.posterior.mean.double()
        moments += torch.stack([mean.sum(0), mean.square().sum(0)])
    reduce = share.reduce
    sums, moments, by_label = reduce(sums), reduce(moments), reduce(by_label)
    cross_entropy = bool(reduce(between)) and is_cross_entropy(model)
    means, squares = (sums / size).view(2, 3)
    distortion_mean, rate_mean, bound_mean = means.tolist()
    errors = ((squares - means.square()).clamp_min(0.0) / max(1, size - 1)).sqrt().tolist()
    dims = math.prod(model.domain.shape)
    first, second = moments / size
    yield "elbo", bound_mean
    yield "distortion", distortion_mean
    yield "rate", rate_mean
    for name, error in zip(("distortion", "rate", "elbo"), errors, strict=True):
        if size > 1:
            yield f"{name}_standard_error", error
    if not cross_entropy and model.domain.levels is not None:
        yield "bits_per_dim", (-bound_mean / dims + model.likelihood.quantization) / math.log(2.0)
        if size > 1:
            yield "bits_per_dim_standard_error", errors[2] / dims / math.log(2.0)
    yield "active_units", float((second - first.square() > ACTIVE_VARIANCE).sum())
    yield "latent_dim", float(model.config.latent_dim)
    yield from _of_labels(by_label, label_names)


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
