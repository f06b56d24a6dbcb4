"""Probabilities of levels, by the mass of a logistic in their bins.

Legend: B batch, M logistics of a pixel, C channels, H height, W width, P parameter maps (C times
``maps_per_channel``). Images are float in [0, 1].
"""

import torch
from torch import Tensor

from distvae.config import ModelConfig
from distvae.domains import Domain
from distvae.likelihoods.base import Likelihood, levels_of
from distvae.likelihoods.logistic import drawn, expected, location_of, log_mass, log_scale_of
from distvae.parts import EVEN_LEVELS, GREY, Part


class DiscretizedLogisticPart(Part):
    """The mass of a logistic in the bin of each level; gives good bits per pixel."""

    name = "discretized_logistic"
    builds = "DiscretizedLogistic"
    needs = (EVEN_LEVELS, GREY)


class DiscretizedLogistic(Likelihood):
    """Probability of each level of the domain: the mass of a logistic in the level's bin.

    Kingma et al. 2016 (arXiv:1606.04934), appendix A.3; the outermost bins reach to infinity. The
    scale is between exp(-7), 0.23 of a grey level, and exp(18).
    """

    maps_per_channel = 2
    is_density = False

    def __init__(self, config: ModelConfig, domain: Domain) -> None:
        super().__init__(config, domain)
        self.levels = levels_of(domain)

    def log_prob(self, images: Tensor, parameters: Tensor) -> Tensor:
        """Log-probability of the levels, nats per image ``[B]``."""
        return log_mass(images, *self._split(parameters), self.levels).flatten(1).sum(1)

    def parameters_of(self, mean: Tensor) -> Tensor:
        """Locations of that mean, with the scale that an untrained decoder has."""
        return torch.cat([location_of(mean, self.levels), torch.zeros_like(mean)])

    def mean(self, parameters: Tensor) -> Tensor:
        """E[x|z] ``[B, C, H, W]``."""
        return expected(*self._split(parameters), self.levels)

    def sample(self, parameters: Tensor, generator: torch.Generator) -> Tensor:
        """A draw rounded to a level ``[B, C, H, W]``."""
        location, log_scale = self._split(parameters)
        uniform = torch.rand(location.shape, generator=generator, device=location.device)
        return drawn(location, log_scale, uniform, self.levels)

    def _split(self, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Location around one half and log-scale."""
        location, log_scale = parameters.chunk(2, dim=1)
        return location + 0.5, log_scale_of(log_scale, self.levels)
