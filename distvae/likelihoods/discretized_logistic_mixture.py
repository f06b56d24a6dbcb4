"""Probabilities of levels, by the mass of several logistics in their bins.

Legend: B batch, M logistics of a pixel, C channels, H height, W width, P parameter maps (C times
``maps_per_channel``). Images are float in [0, 1].
"""

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from distvae.config import ModelConfig
from distvae.domains import Domain
from distvae.likelihoods.base import Likelihood, averaged, levels_of, split_maps
from distvae.likelihoods.logistic import drawn, expected, location_of, log_mass, log_scale_of
from distvae.parts import EVEN_LEVELS, GREY, Part
from distvae.values import Within

COMPONENTS = 5


@dataclass(frozen=True)
class DiscretizedLogisticMixturePart(Part):
    """The mass of several logistics in it; gives better bits per pixel."""

    name = "discretized_logistic_mixture"
    builds = "DiscretizedLogisticMixture"
    needs = (EVEN_LEVELS, GREY)

    likelihood_components: Annotated[int, Within(1, 2**10)] | None = None
    """Logistics of each pixel and channel; left out: 5."""


class DiscretizedLogisticMixture(Likelihood):
    """Probability of each level of the domain under a mixture of logistics for each pixel.

    Salimans et al. 2017 (PixelCNN++, arXiv:1701.05517), eq. 1 and 2. The channels of a pixel are
    independent given z, each with a mixture of its own: without section 2.2's coupling of colours.
    Scales are bounded as those of :class:`DiscretizedLogistic` are.
    """

    is_density = False

    def __init__(self, config: ModelConfig, domain: Domain) -> None:
        super().__init__(config, domain)
        self.levels = levels_of(domain)
        own = config.of(DiscretizedLogisticMixturePart)
        self.components = own.likelihood_components or COMPONENTS
        self.maps_per_channel = 3 * self.components

    def log_prob(self, images: Tensor, parameters: Tensor) -> Tensor:
        """Log-probability of the levels, nats per image ``[B]``."""
        logits, location, log_scale = self._split(parameters)
        mass = log_mass(images.unsqueeze(1), location, log_scale, self.levels)
        mixed = torch.logsumexp(torch.log_softmax(logits, dim=1) + mass, dim=1)
        return mixed.flatten(1).sum(1)

    def parameters_of(self, mean: Tensor) -> Tensor:
        """Locations of that mean for every logistic, all alike in weight and scale."""
        ones = [1] * (mean.dim() - 1)
        zeros = torch.zeros_like(mean).repeat(self.components, *ones)
        return torch.cat(
            [zeros, location_of(mean, self.levels).repeat(self.components, *ones), zeros]
        )

    def mean(self, parameters: Tensor) -> Tensor:
        """E[x|z] ``[B, C, H, W]``."""
        logits, location, log_scale = self._split(parameters)
        return self.domain.cut(averaged(logits, expected(location, log_scale, self.levels)))

    def sample(self, parameters: Tensor, generator: torch.Generator) -> Tensor:
        """A draw of one of the logistics, rounded to a level ``[B, C, H, W]``."""
        logits, location, log_scale = self._split(parameters)
        uniform = torch.rand(logits.shape, generator=generator, device=logits.device)
        # the largest logit with Gumbel noise added is a draw by weight
        gumbel = logits - torch.log(-torch.log(uniform.clamp(1e-20, 1.0 - 1e-7)))
        chosen = gumbel.argmax(dim=1, keepdim=True)
        uniform = torch.rand(chosen.shape, generator=generator, device=logits.device)
        own = location.gather(1, chosen), log_scale.gather(1, chosen)
        return drawn(*own, uniform, self.levels).squeeze(1)

    def _split(self, parameters: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits of the weights, locations and log-scales, each ``[B, M, C, H, W]``."""
        logits, location, log_scale = split_maps(parameters, 3, self.components).unbind(1)
        return logits, location + 0.5, log_scale_of(log_scale, self.levels)
