"""Pixels that are black or white.

Legend: B batch, C channels, H height, W width.
Images are float in [0, 1].
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from distvae.gradients import bernoulli_log_prob
from distvae.likelihoods.base import Likelihood
from distvae.parts import EVEN_LEVELS, Part

TINY = 1e-30
"""Has a logarithm, which 0 has not."""


class BernoulliPart(Part):
    """Black and white pixels; with --binarize none, grey levels taken as probabilities."""

    name = "bernoulli"
    builds = "Bernoulli"
    needs = (EVEN_LEVELS,)
    usual = True


class Bernoulli(Likelihood):
    """Independent black or white pixels, parameterized by logits.

    Grey targets are taken as probabilities, which gives the cross-entropy of the Keras tutorial;
    it is a likelihood only of black and white images.
    """

    maps_per_channel = 1
    is_density = False

    def log_prob(self, images: Tensor, parameters: Tensor) -> Tensor:
        """Log p(x|z) = sum over pixels of x l - log(1 + e^l), nats per image ``[B]``."""
        return bernoulli_log_prob(images, parameters)

    def log_prob_of_draws(self, images: Tensor, parameters: Tensor) -> Tensor:
        """The same of K draws for each image, ``[B, K]``, without an image for each draw."""
        logits, pixels = parameters.flatten(1), images.flatten(1)
        linear = logits.view(len(images), -1, logits.shape[1]) @ pixels.unsqueeze(2)
        return linear.squeeze(2) - F.softplus(logits).sum(1).view(len(images), -1)

    def excess(self, images: Tensor, parameters: Tensor) -> Tensor:
        """KL of grey levels, taken as probabilities, to those of the logits."""
        dark = 1.0 - images
        white = F.softplus(-parameters) + images.clamp(min=TINY).log()
        black = F.softplus(parameters) + dark.clamp(min=TINY).log()
        return (images * white + dark * black).flatten(1).sum(1)

    def parameters_of(self, mean: Tensor) -> Tensor:
        """Logits; pixels that are always black or white are not taken to be certain."""
        return torch.logit(mean, eps=1e-3)

    def mean(self, parameters: Tensor) -> Tensor:
        """Probability of white ``[B, C, H, W]``."""
        return torch.sigmoid(parameters)

    def sample(self, parameters: Tensor, generator: torch.Generator) -> Tensor:
        """Black and white images ``[B, C, H, W]``."""
        return torch.bernoulli(torch.sigmoid(parameters), generator=generator)
