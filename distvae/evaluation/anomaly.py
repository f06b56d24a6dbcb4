"""How unlike the training data an example is, without any chance: the scores of one pass.

A likelihood alone is no such measure. What costs few nats is likely under any model: a model of
clothes finds digits, which are mostly black, likelier than clothes (Nalisnick et al. 2019,
arXiv:1810.09136). So the nats of a picture are compared with those that it would cost to tell it
from a flat one: its score is

    (excess + rate) / (flat + contrast),

where ``excess`` is by how much its distortion is above that of a decoder that draws the picture
itself, ``flat`` the same of a decoder that draws each channel at its mean level, and ``contrast``
what it would cost if all pixels were ``CONTRAST`` off a grey picture. Without contrast it is 0 of
what the model knows by heart and 1 of what it explains no better than a flat picture: the share of
the deviance that is not explained, as of a generalized linear model, with the nats of the latents.
But of a picture that is nearly flat, such as plain sky, that share is of next to nothing, and its
noise alone would make it the strangest of all.

Legend: B batch, S the axes of an example, of which the first are channels.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from distvae.composition import Composition, Terms
from distvae.conditions import Context
from distvae.distributions import full_precision
from distvae.likelihoods.base import Likelihood

CONTRAST = 0.25
"""Of levels in [0, 1]: how far from flat a picture is taken to be, beside what it is. Chosen on
training images of MNIST's digits."""


class Scores(NamedTuple):
    """Of each example ``[B]``, the higher the stranger."""

    distortion: Tensor
    """-log p(x|z) of the posterior's mean z, nats."""
    rate: Tensor
    """KL of the posterior to the prior, nats; where it has no closed form, log q(z|x) - log p(z) of
    that z."""
    score: Tensor
    """Share of a picture's contrast that is not explained; of others distortion and rate, nats."""


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
    grey = torch.full_like(inputs[:1], 0.5)
    part = likelihood.excess(inputs, parameters)
    if part is not None:
        whole = likelihood.excess(inputs, likelihood.parameters_of(flat))
        contrast = likelihood.excess(grey + CONTRAST, likelihood.parameters_of(grey))
        assert whole is not None
        assert contrast is not None
        return (part + rate) / (whole + contrast)
    means = likelihood.mean(parameters)
    error, spread = ((inputs - each).square().flatten(1).sum(1) for each in (means, flat))
    return error / (spread + CONTRAST**2 * inputs[0].numel())
