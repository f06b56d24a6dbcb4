"""Noise of samples, on the device that draws them.

Legend: N images, D numbers of a noise vector.
"""

import math

import torch
from torch import Tensor

from distvae.draws.normals import STEP, standard_normal
from distvae.draws.philox import WORDS
from distvae.draws.steps import BY_NUMPY
from distvae.draws.tensors import philox

_WORD = 64
_SIGNIFICANT = (1 << 53) - 1


def noise_of_samples(seed: int, start: int, count: int, dim: int, device: torch.device) -> Tensor:
    """:func:`distvae.draws.normals.standard_normal` as a tensor ``[N, D]`` on a device.

    On a CPU numpy draws it, elsewhere the device itself: of equal words, and the logarithm and the
    angle in float64, too, so that the numbers are those of a CPU but for the last bit of a few.

    Args:
        seed: 0 or more, less than 2^128.
        start: number of the first vector.
        count: N.
        dim: D.
        device: where they are made.
    """
    if device.type == BY_NUMPY:
        return torch.from_numpy(standard_normal(seed, start, count, dim))
    counts = -(-dim // WORDS)
    first = start * counts + 1  # numpy counts on before it draws
    counter = torch.arange(first, first + count * counts, device=device)
    zero = torch.zeros((), dtype=torch.int64, device=device)
    words = philox((counter, zero, zero, zero), (seed % (1 << _WORD), seed >> _WORD))
    uniform = ((words >> 11) & _SIGNIFICANT).double().mul_(STEP).view(count, 2 * counts, 2)
    radius = (uniform[..., 0] + STEP).log_().mul_(-2.0).sqrt_()
    angle = uniform[..., 1] * (2.0 * math.pi)
    pairs = torch.stack([radius * angle.cos(), radius * angle.sin()], dim=-1).float()
    return pairs.view(count, counts * WORDS)[:, :dim].contiguous()
