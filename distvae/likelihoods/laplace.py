"""Laplace pixels: the absolute error.

Legend: B batch, C channels, H height, W width.
Images are float in [0, 1].
"""

import math

import torch
from torch import Tensor, nn

from distvae.config import ModelConfig
from distvae.domains import Domain
from distvae.gradients import held
from distvae.likelihoods.base import Likelihood
from distvae.parts import GREY, Part

BOUND = 6.0
"""Of the logarithm of the scale, whatever its sign."""
USUAL = 0.1


class LaplacePart(Part):
    """Pixels of an absolute error (L1) with one learned scale, which draws sharper edges."""

    name = "laplace"
    builds = "Laplace"
    needs = (GREY,)


class Laplace(Likelihood):
    """Independent Laplace pixels with one learned scale, which ends at the mean absolute error.

    It lies between exp(-6) and exp(6), as that of a normal pixel does.
    """

    maps_per_channel = 1
    is_density = True
    of_reals = True

    def __init__(self, config: ModelConfig, domain: Domain) -> None:
        super().__init__(config, domain)
        self.log_scale = nn.Parameter(torch.tensor(math.log(USUAL)))

    def log_prob(self, images: Tensor, parameters: Tensor) -> Tensor:
        """Log-density summed over pixels and channels, nats per image ``[B]``."""
        log_scale = held(self.log_scale, BOUND)
        error = (images - parameters).abs() * torch.exp(-log_scale)
        return -(error + (math.log(2.0) + log_scale)).flatten(1).sum(1)

    def excess(self, images: Tensor, parameters: Tensor) -> Tensor:
        """The absolute error in scales."""
        error = (images - parameters).abs() * torch.exp(-held(self.log_scale, BOUND))
        return error.flatten(1).sum(1)

    def parameters_of(self, mean: Tensor) -> Tensor:
        """The image itself."""
        return mean

    def mean(self, parameters: Tensor) -> Tensor:
        """The decoder's output, cut to the domain ``[B, C, H, W]``."""
        return self.domain.cut(parameters)

    def sample(self, parameters: Tensor, generator: torch.Generator) -> Tensor:
        """Mean plus noise by its quantiles, cut to the domain ``[B, C, H, W]``."""
        shape, device = parameters.shape, parameters.device
        centred = torch.rand(shape, generator=generator, device=device) - 0.5
        noise = -centred.sign() * torch.log1p(-2.0 * centred.abs())
        scale = torch.exp(held(self.log_scale, BOUND))
        return self.domain.cut(parameters + noise * scale)
