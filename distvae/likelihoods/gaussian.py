"""Normal pixels.

Legend: B batch, C channels, H height, W width.
Images are float in [0, 1].
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from distvae.config import ModelConfig
from distvae.distributions import log_normal
from distvae.domains import Domain
from distvae.gradients import held
from distvae.likelihoods.base import Likelihood
from distvae.parts import GREY, Part
from distvae.values import Positive

BOUND = 6.0
"""Of the logarithm of a learned sigma, whatever its sign."""


@dataclass(frozen=True)
class GaussianPart(Part):
    """Normal pixels, which draw shapes soonest in colour."""

    name = "gaussian"
    builds = "Gaussian"
    needs = (GREY,)
    usual = True

    sigma: Positive | None = None
    """Standard deviation, pixels in [0, 1]; left out: one value, learned, which ends at the root
    mean square error (the optimal sigma of a sigma-VAE)."""


class Gaussian(Likelihood):
    """Independent normal pixels with one standard deviation, fixed or learned.

    The learned one is the sigma-VAE of Rybkin et al. 2021 (arXiv:2006.13202). It is never below
    exp(-6), 0.6 of a grey level, the bound that the authors' code has too: of images that are all
    alike it would fall without end, and with it the loss, until a step throws both far up. Nor is
    it above exp(6).
    """

    maps_per_channel = 1
    is_density = True
    of_reals = True

    def __init__(self, config: ModelConfig, domain: Domain) -> None:
        super().__init__(config, domain)
        sigma = config.of(GaussianPart).sigma
        log_sigma = torch.tensor(math.log(0.1 if sigma is None else sigma))
        self.learned = sigma is None
        if self.learned:
            self.log_sigma = nn.Parameter(log_sigma)
        else:
            self.register_buffer("log_sigma", log_sigma)

    def log_prob(self, images: Tensor, parameters: Tensor) -> Tensor:
        """Log-density summed over pixels and channels, nats per image ``[B]``."""
        return log_normal(images, parameters, 2.0 * self.held_log_sigma()).flatten(1).sum(1)

    def excess(self, images: Tensor, parameters: Tensor) -> Tensor:
        """Half the squared error in standard deviations."""
        precision = torch.exp(-2.0 * self.held_log_sigma())
        return 0.5 * precision * (images - parameters).square().flatten(1).sum(1)

    def held_log_sigma(self) -> Tensor:
        """Logarithm of the standard deviation, a learned one within ``BOUND``."""
        return held(self.log_sigma, BOUND) if self.learned else self.log_sigma

    def parameters_of(self, mean: Tensor) -> Tensor:
        """The image itself."""
        return mean

    def mean(self, parameters: Tensor) -> Tensor:
        """The decoder's output, cut to the domain ``[B, C, H, W]``."""
        return self.domain.cut(parameters)

    def sample(self, parameters: Tensor, generator: torch.Generator) -> Tensor:
        """Mean plus noise, cut to the domain ``[B, C, H, W]``."""
        noise = torch.randn(parameters.shape, generator=generator, device=parameters.device)
        return self.domain.cut(parameters + noise * self.held_log_sigma().exp())
