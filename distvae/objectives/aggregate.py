"""Objectives that press on the latents of a whole batch: beta-TCVAE, DIP-VAE and InfoVAE.

Legend: B batch (the global one where latents are gathered), C channels, H height, W width, Z
latent dimensions.

Each adds a term of the aggregate posterior q(z), the mean of q(z|x) over the images. It is
estimated on the whole batch, on every process alike, so a run is the same on any number of them.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from distvae.batch import Batch
from distvae.distributions import DiagonalGaussian, full_precision, log_normal
from distvae.models import VAE, Terms
from distvae.objectives.base import Loss, Objective, Pressure
from distvae.parts import INDEPENDENT, MOMENTS, WHOLE_BATCH, Need, Part
from distvae.values import NotNegative


@dataclass(frozen=True)
class BetaTCPart(Part):
    """The bound, its total correlation weighted (beta-TCVAE)."""

    name = "beta_tc"
    builds = "BetaTC"
    needs = (
        INDEPENDENT,
        MOMENTS,
        *WHOLE_BATCH,
        Need("streaming", (False,), "its estimate of q(z) needs the number of images"),
    )

    penalty: NotNegative | None = None
    """Beta, the weight of the total correlation; left out: 6."""

    def left_out(self) -> dict[str, Any]:
        """Beta."""
        return {"penalty": 6.0}


class BetaTC(Objective):
    """The beta-TCVAE of Chen et al. 2018 (arXiv:1802.04942, eq. 4, with alpha = gamma = 1).

    The KL term is mutual information + total correlation + KL of each dimension (their eq. 2), and
    the total correlation is weighted by ``penalty``. With weights 1, beta and 1 that is the KL, in
    closed form, plus beta - 1 times the total correlation. The density of q(z) is estimated by
    stratified sampling (their appendix C.2): see :func:`log_aggregate`.
    """

    def forward(self, model: VAE, batch: Batch, pressure: Pressure) -> Loss:
        """The bound plus beta - 1 times the total correlation, all under the KL weight."""
        terms = model.terms(batch)
        bound = self.bound(terms, pressure)
        gather, beta = self.facts.gather, self.facts.config.of(BetaTCPart).penalty
        assert beta is not None
        with full_precision(batch.stored.device.type):
            z, (mean, log_variance) = gather(terms.draws[0].z), map(gather, base_of(terms))
            joint, dimensions = log_aggregate(z, mean, log_variance, self.facts.images)
            given = log_normal(z, mean, log_variance).sum(1)
            total_correlation = (joint - dimensions.sum(1)).mean()
            extras = {
                "mutual_information": (given - joint).mean(),
                "total_correlation": total_correlation,
                "dimension_rate": (dimensions - log_normal(z, 0.0, 0.0)).sum(1).mean(),
            }
        pressed = pressure.kl_weight * (beta - 1.0) * total_correlation
        return Loss(bound.loss + pressed, bound.distortion, bound.rate, extras)


def log_aggregate(
    z: Tensor, mean: Tensor, log_variance: Tensor, images: int
) -> tuple[Tensor, Tensor]:
    """Log q(z) of latents drawn for a batch, and log q(z_j) of each of their dimensions.

    The image that z was drawn for is one of N and counts 1 / N; the others of the batch stand for
    the N - 1 others, each alike, where Chen et al. give one of them a weight of its own. So the
    density (not its logarithm) is estimated without bias, and exactly if the batch is all N.

    Args:
        z: ``[B, Z]``, each row drawn from the posterior in the same row.
        mean: of the posteriors ``[B, Z]``.
        log_variance: of the posteriors ``[B, Z]``.
        images: N, the number that the batch was drawn from without replacement.

    Returns:
        Nats, ``[B]`` and ``[B, Z]``.
    """
    size = len(z)
    pairs = log_normal(z[:, None], mean[None], log_variance[None])  # [B of z, B of q, Z]
    own = torch.eye(size, dtype=torch.bool, device=z.device)
    other = math.log((images - 1) / (images * (size - 1)))
    weights = torch.full_like(pairs[..., 0], other).masked_fill(own, -math.log(images))
    joint = torch.logsumexp(pairs.sum(2) + weights, 1)
    return joint, torch.logsumexp(pairs + weights.unsqueeze(2), 1)


def base_of(terms: Terms) -> DiagonalGaussian:
    """The Gaussian of the posterior of the one level."""
    posterior = terms.draws[0].posterior
    assert posterior is not None
    return posterior.base


@dataclass(frozen=True)
class DipIPart(Part):
    """The covariance of the posterior means pulled to the identity (DIP-VAE-I)."""

    name = "dip_i"
    builds = "DipI"
    needs = (INDEPENDENT, MOMENTS, *WHOLE_BATCH)

    penalty: NotNegative | None = None
    """Lambda_od, the weight of what is off the diagonal; left out: 10."""
    dip_diagonal: NotNegative | None = None
    """Lambda_d, the weight of the diagonal; left out: 10 times --penalty."""

    def left_out(self) -> dict[str, Any]:
        """Both weights."""
        penalty = 10.0 if self.penalty is None else self.penalty
        return {"penalty": penalty, "dip_diagonal": 10.0 * penalty}


class DipI(Objective):
    """DIP-VAE-I of Kumar et al. 2018 (arXiv:1711.00848, eq. 6).

    The covariance of the posterior means is pulled to the identity: ``penalty`` times the squares
    off its diagonal plus ``dip_diagonal`` times the squared distances of the diagonal from 1.
    """

    def covariance(self, mean: Tensor, log_variance: Tensor) -> Tensor:
        """What is to be the identity ``[Z, Z]``, of posteriors ``[B, Z]``."""
        centred = mean - mean.mean(0)
        return centred.T @ centred / (len(mean) - 1)

    def forward(self, model: VAE, batch: Batch, pressure: Pressure) -> Loss:
        """The bound plus the two penalties."""
        terms = model.terms(batch)
        bound = self.bound(terms, pressure)
        own = self.facts.config.of(DipIPart)
        with full_precision(batch.stored.device.type):
            covariance = self.covariance(*map(self.facts.gather, base_of(terms)))
            diagonal = covariance.diagonal()
            off_diagonal = covariance.square().sum() - diagonal.square().sum()
            distance = (diagonal - 1.0).square().sum()
        assert own.penalty is not None
        assert own.dip_diagonal is not None
        pressed = own.penalty * off_diagonal + own.dip_diagonal * distance
        extras = {"off_diagonal": off_diagonal, "diagonal_distance": distance}
        return Loss(bound.loss + pressed, bound.distortion, bound.rate, extras)


@dataclass(frozen=True)
class DipIIPart(Part):
    """The covariance of q(z) pulled to the identity (DIP-VAE-II)."""

    name = "dip_ii"
    builds = "DipII"
    needs = (INDEPENDENT, MOMENTS, *WHOLE_BATCH)

    penalty: NotNegative | None = None
    """Lambda_od, the weight of what is off the diagonal; left out: 10."""
    dip_diagonal: NotNegative | None = None
    """Lambda_d, the weight of the diagonal; left out: --penalty."""

    def left_out(self) -> dict[str, Any]:
        """Both weights."""
        penalty = 10.0 if self.penalty is None else self.penalty
        return {"penalty": penalty, "dip_diagonal": penalty}


class DipII(DipI):
    """DIP-VAE-II (their eq. 7): the same for the covariance of q(z), spread of z included."""

    def covariance(self, mean: Tensor, log_variance: Tensor) -> Tensor:
        """Covariance of the means plus mean variance ``[Z, Z]`` (their eq. 4)."""
        return super().covariance(mean, log_variance) + log_variance.exp().mean(0).diag()


@dataclass(frozen=True)
class MmdPart(Part):
    """The bound and a distance of q(z) from the prior (InfoVAE)."""

    name = "mmd"
    builds = "Mmd"
    needs = WHOLE_BATCH

    penalty: NotNegative | None = None
    """Alpha + lambda - 1, the weight of the distance; left out: 1000."""

    def left_out(self) -> dict[str, Any]:
        """The weight."""
        return {"penalty": 1000.0}


class Mmd(Objective):
    """InfoVAE with maximum mean discrepancy (Zhao et al. 2017, arXiv:1706.02262, section 3).

    -log p(x|z) + (1 - alpha) KL + (alpha + lambda - 1) MMD(q(z), p(z)): the KL weight is 1 - alpha,
    ``penalty`` the other factor. The prior, which may be learned, is drawn from for the labels of
    the batch.
    """

    @property
    def draws(self) -> int | None:
        """One for the posterior and one for the prior."""
        return 2

    @property
    def noise_dim(self) -> int:
        """Enough for either."""
        return max(self.facts.infer_dim, self.facts.noise_dim)

    def forward(self, model: VAE, batch: Batch, pressure: Pressure) -> Loss:
        """The bound plus the discrepancy between the batch's latents and draws of the prior."""
        of_posterior, of_prior = batch.noise.unbind(1)
        terms = model.terms(batch._replace(noise=of_posterior[:, : self.facts.infer_dim]))
        bound = self.bound(terms, pressure)
        gather, penalty = self.facts.gather, self.facts.config.of(MmdPart).penalty
        assert penalty is not None
        with full_precision(batch.stored.device.type):
            context = model.conditioner(batch.conditions)
            (drawn,) = model.latents.draw(of_prior[:, : self.facts.noise_dim], context)
            discrepancy = mmd(gather(terms.draws[0].z), gather(drawn))
        return Loss(
            bound.loss + penalty * discrepancy, bound.distortion, bound.rate, {"mmd": discrepancy}
        )


def mmd(first: Tensor, second: Tensor) -> Tensor:
    """Squared maximum mean discrepancy of two samples ``[B, Z]``: 0 if they are the same.

    Gretton et al. 2012, eq. 5, with the kernel exp(-|a - b|^2 / 2Z): between two draws of N(0, I)
    the exponent is 1 on average.
    """

    def mean_kernel(a: Tensor, b: Tensor) -> Tensor:
        squares = a.square().sum(1)[:, None] + b.square().sum(1) - 2.0 * a @ b.T
        return torch.exp(-squares / (2.0 * a.shape[1])).mean()

    return mean_kernel(first, first) + mean_kernel(second, second) - 2 * mean_kernel(first, second)
