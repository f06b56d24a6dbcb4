"""The bound of several draws that are weighed.

Legend: B batch, K draws for an image, C channels, H height, W width, Z latent dimensions.
"""

import math
from typing import Any

import torch
from torch import Tensor

from distvae.batch import Batch
from distvae.models import VAE, Terms
from distvae.objectives.base import Loss, Objective, rates_by_level
from distvae.parts import WEIGHS, Part
from distvae.players import Pressure


class IwaePart(Part):
    """The bound of several draws, weighed."""

    name = "iwae"
    builds = "Iwae"
    traits = ("takes_terms",)
    needs = (WEIGHS,)

    def left_out(self) -> dict[str, Any]:
        """Draws."""
        return {"importance_samples": 5}


class Iwae(Objective):
    """The importance-weighted bound of Burda et al. 2016 (arXiv:1509.00519, eq. 8).

    -log of the mean over K draws of p(x|z) p(z) / q(z|x). A KL weight other than 1, as during a
    warm-up, is the power to which p(z) / q(z|x) is raised; only with 1 is this a bound.
    """

    @property
    def draws(self) -> int | None:
        """K, be it one."""
        return self.facts.config.importance_samples

    def losses(self, model: VAE, batch: Batch, pressure: Pressure) -> Loss:
        """The bound; distortion and rate are means over the draws."""
        terms = model.terms(batch, self.draws, densities=True)
        return weighed(terms, log_weights(terms, terms.log_q, pressure.kl_weight))


def log_weights(terms: Terms, log_q: Tensor, kl_weight: float | Tensor) -> Tensor:
    """Log p(x|z) + kl_weight (log p(z) - log q(z|x)) of every draw, nats ``[B, K]``."""
    return terms.log_likelihood + kl_weight * (terms.log_p - log_q)


def weighed(terms: Terms, log_weight: Tensor) -> Loss:
    """The bound of log-weights ``[B, K]``; distortion and rate are means over the draws."""
    bound = torch.logsumexp(log_weight, 1) - math.log(log_weight.shape[1])
    distortion, rate = -terms.log_likelihood.mean(1), terms.rate.sum(1)
    levels = rates_by_level(terms)
    return Loss(-bound.mean(), distortion, rate, levels, parameters=terms.parameters)
