"""The beta-TCVAE: the bound with its total correlation weighted.

Legend: B batch (the global one where latents are gathered), C channels, H height, W width, Z
latent dimensions.

The term of the aggregate posterior q(z), the mean of q(z|x) over the images, is estimated on the
whole batch, on every process alike, so a run is the same on any number of them.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from distvae.batch import Batch
from distvae.distributions import full_precision, log_normal
from distvae.models import VAE
from distvae.objectives.base import Loss, Objective, base_of, one_draw
from distvae.parts import INDEPENDENT, MOMENTS, ONE_LEVEL, WHOLE_BATCH, Need, Part
from distvae.players import Pressure, RunFacts
from distvae.values import NotNegative


@dataclass(frozen=True)
class BetaTCPart(Part):
    """The bound, its total correlation weighted (beta-TCVAE)."""

    name = "beta_tc"
    builds = "BetaTC"
    traits = ("takes_terms", "adds_distortion")
    needs = (
        INDEPENDENT,
        MOMENTS,
        ONE_LEVEL,
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

    def __init__(self, facts: RunFacts) -> None:
        super().__init__(facts)
        self.own = facts.config.of(BetaTCPart)

    def losses(self, model: VAE, batch: Batch, pressure: Pressure) -> Loss:
        """The bound plus beta - 1 times the total correlation, all under the KL weight."""
        terms = model.terms(batch)
        bound = self.bound(terms, pressure)
        gather, beta = self.facts.gather, self.own.penalty
        assert beta is not None
        with full_precision(batch.stored.device.type):
            z, (mean, log_variance) = gather(one_draw(terms).z), map(gather, base_of(terms))
            joint, dimensions = log_aggregate(z, mean, log_variance, self.facts.images)
            given = log_normal(z, mean, log_variance).sum(1)
            total_correlation = (joint - dimensions.sum(1)).mean()
            extras = {
                "mutual_information": (given - joint).mean(),
                "total_correlation": total_correlation,
                "dimension_rate": (dimensions - log_normal(z, 0.0, 0.0)).sum(1).mean(),
            }
        pressed = pressure.kl_weight * (beta - 1.0) * total_correlation
        return bound.plus(pressed, extras)


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
