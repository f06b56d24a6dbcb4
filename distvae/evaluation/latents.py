"""What the latents of a split hold, and how far they are from the prior.

Legend: B batch, M posteriors, N images, Z latent dimensions, F features of the encoder.
"""

import math
import warnings
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distvae.blocks import joined
from distvae.conditions import Context
from distvae.data.batches import ResidentImages
from distvae.data.store import Split
from distvae.distributions import LOG_TWO_PI, DiagonalGaussian
from distvae.draws.philox import Stream
from distvae.evaluation.passes import BLOCK, Advance, Block, Pass, through, unwatched
from distvae.evaluation.uncertainty import estimate_metrics, mean_of
from distvae.latents.gaussian import GaussianSpace
from distvae.models import VAE
from distvae.posteriors import FlowPosterior

MOST = 20_000
"""Images; every latent meets every posterior of its label, so time grows with the square."""
MOST_OF_FLOWS = 1000
"""The same where each meeting is a pass through a flow."""
FIT_IMAGES = 20_000
"""Training images that a density of latents is fitted to, at most."""
PAIRS = 50_000
"""Meetings in a flow at once on a CPU."""
MIXTURES = (("diag", 1), ("full", 1), ("full", 2), ("full", 5))
"""Covariances and Gaussians of the densities that are tried; the prior is another."""
REGULARIZATION = 1e-6


class Latents(NamedTuple):
    """Draws from the posteriors of N images, in float64, and what is known of each."""

    z: Tensor
    """``[N, Z]``."""
    own: Tensor
    """Log-density under the image's own posterior, nats ``[N]``."""
    prior: Tensor
    """Log-density under the prior, nats ``[N]``."""
    groups: Tensor
    """The labels that a conditional model is given, together a number ``[N]``, else 0; while they
    are gathered, those of several attributes are apart ``[N, A]``."""
    mean: Tensor
    """Of the posterior or, under a flow, of its base ``[N, Z]``."""
    log_variance: Tensor
    """``[N, Z]``."""
    features: Tensor | None = None
    """What a flow sees of the image ``[N, F]``, float32."""


@torch.no_grad()
def latent_metrics(
    model: VAE,
    images: ResidentImages,
    train: Split,
    seed: int,
    advance: Advance = unwatched,
    leave: Callable[[str, str], None] = lambda name, why: None,
) -> Iterator[tuple[str, float]]:
    """The parts of the rate (Hoffman and Johnson 2016, ELBO surgery, eq. 7 to 9), as bounds.

    The mean KL of posterior to prior is the mutual information of image and latents plus the KL of
    the aggregate posterior q(z), the mean of q(z|x) over all images there are, to the prior. Of a
    conditional model each label has its own q(z|y), and the information is what the latents say
    beyond the label. q(z) is known for no more than N images. Their own mean in its place gives a
    lower bound of the information (Poole et al. 2019, eq. 12), which cannot pass log N, and an
    upper one of the KL. Any other density m(z) that knows nothing of these images gives the other
    sides (Barber and Agakov 2003): information is at most the mean KL of q(z|x) to m(z). Here m is
    the prior, or a mixture of Gaussians fitted to latents of training images, or half of each,
    whichever suits other images of the split best.

    Args:
        model: in evaluation mode, on the device of ``images``.
        images: the split, of which at most ``MOST`` images are taken, evenly, and fewer for a
            posterior with a flow, which has no closed form.
        train: what m is fitted to.
        seed: of the draws from the posterior and of dynamic binarization.
        advance: told the number of images done.
        leave: told the name of a figure that cannot be had, and why.

    Yields:
        ``rate_latent_J`` of each latent where the KL has a closed form, else nothing of them;
        ``mutual_information_lower``, what it is limited to, ``mutual_information_limit``, and
        ``mutual_information_upper``; ``aggregate_kl_lower`` and ``aggregate_kl_upper``: nats, the
        bounds each with the ``_standard_error`` over the images.
    """
    most = MOST if gaussian(model).flow is None else MOST_OF_FLOWS
    test, rates = draw(model, images, seed, most, Stream.EVALUATION, advance)
    if rates is None:
        why = "the KL of this posterior to this prior has no closed form that adds up by latent"
        leave("rate_latent", why)
    else:
        for latent, value in enumerate(rates.mean(0).tolist()):
            yield f"rate_latent_{latent}", value
    others = ResidentImages.from_split(train).to(images.device)
    if model.conditioner.shape.numbers:
        leave("mutual_information", "images are given numbers, and few are given the same")
        return
    known, _ = draw(model, others, seed, FIT_IMAGES, Stream.EVALUATION_OF_TRAINING)
    joined = torch.cat([test.groups, known.groups])
    groups = joined if joined.dim() == 1 else torch.unique(joined, dim=0, return_inverse=True)[1]
    sizes = [len(test.own), len(known.own)]
    test, known = (
        part._replace(groups=own)
        for part, own in zip((test, known), torch.split(groups, sizes), strict=True)
    )
    yield from information_metrics(test, known, model, seed)


def gaussian(model: VAE) -> GaussianSpace:
    """The latents of a model that has a single level of them; others are refused before."""
    assert isinstance(model.latents, GaussianSpace)
    return model.latents


def draw(
    model: VAE,
    images: ResidentImages,
    seed: int,
    most: int,
    stream: Stream,
    advance: Advance = unwatched,
) -> tuple[Latents, Tensor | None]:
    """Latents of at most so many images, evenly, and their KL by latent ``[N, Z]`` if known."""
    space = gaussian(model)
    rows = torch.arange(0, len(images), -(-len(images) // most))
    way = Pass(model, images, seed, stream, rows)

    def latents_of(block: Block) -> tuple[Tensor, ...]:
        batch = block.batch
        context = model.conditioner(batch.conditions)
        posterior = model.posterior(model.inputs_of(batch), context)
        z = posterior.sample(batch.noise)
        rate = space.prior.kl(posterior, context)
        return (
            z.double(),
            posterior.log_prob(z).double(),
            space.prior.log_prob(z, context).double(),
            _group(z, context),
            posterior.base.mean.double(),
            posterior.base.log_variance.double(),
            posterior.features if isinstance(posterior, FlowPosterior) else z[:, :0],
            z[:, :0] if rate is None else rate.double(),
        )

    parts = list(through(latents_of, way, advance=advance))
    *found, features, rates = (torch.cat(each) for each in zip(*parts, strict=True))
    whole = Latents(*found)._replace(features=features if features.shape[1] else None)
    return whole, rates if rates.shape[1] else None


def _group(z: Tensor, context: Context | None) -> Tensor:
    if context is None or context.rows is None:
        return torch.zeros_like(z[:, 0], dtype=torch.int64)
    return context.rows


def information_metrics(
    test: Latents, train: Latents, model: VAE | None, seed: int
) -> Iterator[tuple[str, float]]:
    """The bounds of :func:`latent_metrics`; of Gaussian posteriors without a model."""
    aggregate, density = torch.empty_like(test.own), torch.empty_like(test.own)
    limit = 0.0
    for group in torch.unique(test.groups):
        rows = (test.groups == group).nonzero().squeeze(1)
        aggregate[rows] = _log_aggregate(test, rows, model)
        density[rows] = _log_fitted(test, rows, train, (train.groups == group), seed)
        limit += len(rows) / len(test.own) * math.log(len(rows))
    yield from _positive_mean("mutual_information_lower", test.own - aggregate)
    yield "mutual_information_limit", limit
    yield from _positive_mean("mutual_information_upper", test.own - density)
    yield from _positive_mean("aggregate_kl_lower", density - test.prior)
    yield from _positive_mean("aggregate_kl_upper", aggregate - test.prior)


def _positive_mean(name: str, values: Tensor) -> Iterator[tuple[str, float]]:
    """That of what cannot be negative, as nats of information."""
    found = mean_of(values)
    yield from estimate_metrics(name, found._replace(values=(max(0.0, found.value),)))


def _log_aggregate(latents: Latents, rows: Tensor, model: VAE | None) -> Tensor:
    """Log of the mean density ``[B]`` of the latents of some images under their posteriors."""
    z, mean, log_variance = latents.z[rows], latents.mean[rows], latents.log_variance[rows]
    if latents.features is None:
        return joined(
            lambda part: log_aggregate(z[part], mean, log_variance), len(z), BLOCK, z.device
        )
    assert model is not None
    flow = gaussian(model).flow
    assert flow is not None
    base = DiagonalGaussian(mean.float(), log_variance.float())
    posterior = FlowPosterior(base, latents.features[rows], flow.weights()).over_draws()

    def densities(part: slice) -> Tensor:
        found = posterior.log_prob(z[part].float().expand(len(rows), -1, -1))
        return found.double().logsumexp(0) - math.log(len(rows))

    return joined(densities, len(z), max(1, PAIRS // len(rows)), z.device)


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


def _log_fitted(test: Latents, rows: Tensor, train: Latents, own: Tensor, seed: int) -> Tensor:
    """Log-density of some latents ``[B]`` under a density that knows nothing of them.

    Candidates are the prior, mixtures fitted to ``train``, and each half and half with the prior.
    Every other image takes the one that suits the images between best.
    """
    prior, known = test.prior[rows], train.z[own].cpu().numpy()
    candidates = [prior]
    for covariance, components in MIXTURES:
        if components * (known.shape[1] + 1) <= len(known):
            mixture = _mixture(known, covariance, components, seed)
            density = torch.from_numpy(mixture(test.z[rows].cpu().numpy())).to(prior)
            candidates += [density, torch.logaddexp(density, prior) - math.log(2.0)]
    table, result = torch.stack(candidates), prior.clone()
    for half in range(2 if len(rows) > 1 else 0):
        best = table[:, 1 - half :: 2].mean(1).argmax()
        result[half::2] = table[best, half::2]
    return result


def _mixture(
    known: NDArray[np.float64], covariance: str, components: int, seed: int
) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
    """The log-density ``[B]`` of points ``[B, Z]`` under Gaussians fitted to known ones."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a bound all the same
        mixture = GaussianMixture(
            components,
            covariance_type=covariance,
            reg_covar=REGULARIZATION,
            random_state=seed % 2**32,
        ).fit(known)
    scores: Callable[[NDArray[np.float64]], NDArray[np.float64]] = mixture.score_samples
    return scores
