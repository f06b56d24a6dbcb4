"""Gumbel noise made of normal noise, so that the largest of noisy logits is a draw of a category.

Gumbel-max (Gumbel 1954): argmax(logits - log E), E exponential, has the probabilities of a softmax.
E is -log Phi(n) of a normal n, which grows as n falls. So noise that is scaled down is more typical
and less diverse, as that of Gaussian latents, and noise of 0 gives the likeliest category.
"""

import math

import torch
from torch import Tensor

SMALL = 1e-4
"""Tails whose logarithms are taken by two terms."""
_COEFFICIENTS = (
    -1.26551223, 1.00002368, 0.37409196, 0.09678418, -0.18628806,
    0.27886807, -1.13520398, 1.48851587, -0.82215223, 0.17087277,
)  # fmt: skip
"""Of a fit of log erfc, by which erfc is off by a share of 1.2e-7 (Press et al. 1992, 6.2)."""


def gumbels(noise: Tensor) -> Tensor:
    """Standard normal numbers to standard Gumbel ones of their shape, in float64.

    Made of what every runtime has: one rounds an error function of float32 otherwise than another.
    """
    noise = noise.double()
    tail = _upper_tail(noise.abs())
    # of a small tail 1 - tail loses the digits, and of its logarithm two terms are enough
    above = torch.where(tail < SMALL, tail * (1.0 + 0.5 * tail), -torch.log(1.0 - tail))
    return -torch.log(torch.where(noise > 0, above, -torch.log(tail)))


def _upper_tail(distance: Tensor) -> Tensor:
    """Probability of a normal number above so many deviations, which are at least 0."""
    x = distance * math.sqrt(0.5)
    t = 1.0 / (1.0 + 0.5 * x)
    total = torch.full_like(t, _COEFFICIENTS[-1])
    for coefficient in _COEFFICIENTS[-2::-1]:
        total = total * t + coefficient
    return 0.5 * t * torch.exp(total - x * x)
