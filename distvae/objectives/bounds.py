"""Bounds on log p(x): of single draws, and of several that are weighed.

Legend: B batch, K draws for an image, C channels, H height, W width, Z latent dimensions.
"""

import math
from typing import Any

import torch
from torch import Tensor

from distvae.batch import Batch
from distvae.distributions import full_precision
from distvae.models import VAE, Terms
from distvae.objectives.base import Loss, Objective, Pressure, elbo, rates_by_level
from distvae.parts import WEIGHS, Need, Part


class ElboPart(Part):
    """The evidence lower bound."""

    name = "elbo"
    builds = "Elbo"
    usual = True

    def left_out(self) -> dict[str, Any]:
        """A weight with which samples obey their label better."""
        return {"beta": 1.5}


class Elbo(Objective):
    """The evidence lower bound and its variants: see :func:`distvae.objectives.base.elbo`."""

    of_levels = True

    @property
    def draws(self) -> int | None:
        """One, or several to average over."""
        samples = self.facts.config.importance_samples
        return None if samples == 1 else samples

    def forward(self, model: VAE, batch: Batch, pressure: Pressure) -> Loss:
        """Distortion plus weighted rate."""
        terms = model.terms(batch, self.draws)
        config, dims, gather = self.facts.config, self.facts.dims, self.facts.gather
        return elbo(terms, pressure.kl_weight, config, dims, pressure.capacity, gather)


class IwaePart(Part):
    """The bound of several draws, weighed."""

    name = "iwae"
    builds = "Iwae"
    needs = (WEIGHS,)

    def left_out(self) -> dict[str, Any]:
        """Draws."""
        return {"importance_samples": 5}


class Iwae(Objective):
    """The importance-weighted bound of Burda et al. 2016 (arXiv:1509.00519, eq. 8).

    -log of the mean over K draws of p(x|z) p(z) / q(z|x). A KL weight other than 1, as during a
    warm-up, is the power to which p(z) / q(z|x) is raised; only with 1 is this a bound.
    """

    of_levels = True

    @property
    def draws(self) -> int | None:
        """K, be it one."""
        return self.facts.config.importance_samples

    def forward(self, model: VAE, batch: Batch, pressure: Pressure) -> Loss:
        """The bound; distortion and rate are means over the draws."""
        terms = model.terms(batch, self.draws, densities=True)
        return _weighed(terms, log_weights(terms, terms.log_q, pressure.kl_weight))


class DregPart(Part):
    """The same bound by a gradient with less noise."""

    name = "dreg"
    builds = "Dreg"
    needs = (WEIGHS, Need("compile", ("off", "auto"), "its gradient is not that of its value"))

    def left_out(self) -> dict[str, Any]:
        """Draws."""
        return {"importance_samples": 5}


class Dreg(Iwae):
    """The same bound, its gradient doubly reparameterized (Tucker et al. 2019, arXiv:1810.04152).

    The encoder learns through z alone, the posterior's parameters in log q(z|x) being held, and
    from each draw by the square of its normalized weight w (their IWAE-DReG estimator). That has
    the mean of the plain gradient and less noise, and does not fade as K grows. With a KL weight b
    the square is w (1 - b (1 - w)), by the same argument.

    Decoder and prior, also a learned one, have the plain gradient, weighted by w. What flows on
    into z comes with that w, and is given the other factor on its way to the encoder.
    """

    compiles = False
    of_levels = False

    def forward(self, model: VAE, batch: Batch, pressure: Pressure) -> Loss:
        """The value of ``iwae`` with another gradient."""
        terms = model.terms(batch, self.draws, densities=True)
        (draw,) = terms.draws
        assert draw.posterior is not None
        with full_precision(batch.stored.device.type):
            held = draw.posterior.detached().over_draws().log_prob(draw.z)
        log_weight = log_weights(terms, held, pressure.kl_weight)
        if draw.z.requires_grad:  # not where the loss is only looked at
            share = log_weight.detach().softmax(1).unsqueeze(2)
            factor = 1.0 - pressure.kl_weight * (1.0 - share)
            z: Any = draw.z  # whose hooks have no types
            z.register_hook(lambda gradient: gradient * factor)
        return _weighed(terms, log_weight)


def log_weights(terms: Terms, log_q: Tensor, kl_weight: float | Tensor) -> Tensor:
    """Log p(x|z) + kl_weight (log p(z) - log q(z|x)) of every draw, nats ``[B, K]``."""
    return terms.log_likelihood + kl_weight * (terms.log_p - log_q)


def _weighed(terms: Terms, log_weight: Tensor) -> Loss:
    bound = torch.logsumexp(log_weight, 1) - math.log(log_weight.shape[1])
    distortion, rate = -terms.log_likelihood.mean(1), terms.rate.sum(1)
    return Loss(-bound.mean(), distortion, rate, rates_by_level(terms))
