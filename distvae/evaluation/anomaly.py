"""How unlike the training data an example is, without any chance: the scores of one pass.

A likelihood alone is no such measure. What costs few nats is likely under any model: a model of
clothes finds digits, which are mostly black, likelier than clothes (Nalisnick et al. 2019,
arXiv:1810.09136). So the nats of a picture are compared with those that it would cost to tell it
from a flat one: its score is

    (excess + rate) / flat,

where ``excess`` is by how much its distortion is above that of a decoder that draws the picture
itself, and ``flat`` the same of a decoder that draws each channel at its mean level. It is 0 of
what the model knows by heart and 1 of what it explains no better than a flat picture: the share of
the deviance that is not explained, as of a generalized linear model, with the nats of the latents.

Legend: B batch, S the axes of an example, of which the first are channels.
"""

from typing import NamedTuple

from torch import Tensor

from distvae.composition import Composition, Terms
from distvae.conditions import Context
from distvae.distributions import full_precision
from distvae.likelihoods.base import Likelihood

FLAT = 1.0
"""Nats that a flat picture costs at least: none is divided by what is nearly 0."""
FLATNESS = 1e-3
"""The same of squared levels in [0, 1]."""


class Scores(NamedTuple):
    """Of each example ``[B]``, the higher the stranger."""

    distortion: Tensor
    """-log p(x|z) of the posterior's mean z, nats."""
    rate: Tensor
    """KL of the posterior to the prior, nats; where it has no closed form, log q(z|x) - log p(z) of
    that z."""
    score: Tensor
    """Share of a picture that is not explained; of other examples distortion and rate, nats."""


def mean_terms(model: Composition, inputs: Tensor, context: Context | None) -> Terms:
    """What a model says of inputs ``[B, *S]`` with z at the posterior's mean."""
    noise = inputs.new_zeros(inputs.shape[0], model.latents.infer_dim)
    return model.terms_of(inputs, context, noise)


def scores_of(model: Composition, inputs: Tensor, context: Context | None) -> Scores:
    """The scores of inputs ``[B, *S]``, such as ``Domain.to_expected_input`` gives them."""
    return scores_of_terms(model, inputs, mean_terms(model, inputs, context))


def scores_of_terms(model: Composition, inputs: Tensor, terms: Terms) -> Scores:
    """The same where :func:`mean_terms` is at hand."""
    distortion, rate = -terms.log_likelihood, terms.rate.sum(1)
    if model.domain.levels is None:
        return Scores(distortion, rate, distortion + rate)
    with full_precision(inputs.device.type):
        share = _unexplained(model.likelihood, inputs, terms.parameters, rate)
    return Scores(distortion, rate, share)


def _unexplained(
    likelihood: Likelihood, inputs: Tensor, parameters: Tensor, rate: Tensor
) -> Tensor:
    """The share ``[B]``; of a likelihood that learns each pixel's width, that of the variance."""
    inputs = inputs.to(parameters.dtype)
    flat = inputs.mean(tuple(range(2, inputs.dim())), keepdim=True).expand_as(inputs)
    part = likelihood.excess(inputs, parameters)
    if part is not None:
        whole = likelihood.excess(inputs, likelihood.parameters_of(flat))
        assert whole is not None
        return (part + rate) / whole.clamp(min=FLAT)
    means = likelihood.mean(parameters)
    error, spread = ((inputs - each).square().flatten(1).sum(1) for each in (means, flat))
    return error / spread.clamp(min=FLATNESS)
