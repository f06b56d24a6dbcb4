"""Probabilities of the 256 grey levels, by the mass of logistics in their bins.

Legend: B batch, M logistics of a pixel, C channels, H height, W width, P parameter maps (C times
``maps_per_channel``). Images are float in [0, 1].
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from distvae.config import ModelConfig
from distvae.likelihoods.base import GREY_LEVELS, Likelihood, averaged, split_maps

COMPONENTS = 5


class DiscretizedLogistic(Likelihood):
    """Probability of each of the 256 grey levels: the mass of a logistic in the level's bin.

    Kingma et al. 2016 (arXiv:1606.04934), appendix A.3; the outermost bins reach to infinity.
    """

    maps_per_channel = 2
    quantization = 0.0

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()

    def log_prob(self, images: Tensor, parameters: Tensor) -> Tensor:
        """Log-probability of the grey levels, nats per image ``[B]``."""
        return log_mass(images, *self._split(parameters)).flatten(1).sum(1)

    def parameters_of(self, mean: Tensor) -> Tensor:
        """The image as location, with the scale that an untrained decoder has."""
        return torch.cat([mean - 0.5, torch.zeros_like(mean)])

    def mean(self, parameters: Tensor) -> Tensor:
        """Location of the logistic, cut to [0, 1] ``[B, C, H, W]``."""
        return self._split(parameters)[0].clamp(0.0, 1.0)

    def sample(self, parameters: Tensor, generator: torch.Generator) -> Tensor:
        """A draw rounded to a grey level ``[B, C, H, W]``."""
        location, log_scale = self._split(parameters)
        uniform = torch.rand(location.shape, generator=generator, device=location.device)
        return drawn(location, log_scale, uniform)

    def _split(self, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Location around one half and log-scale, bounded so that a bin never vanishes."""
        location, log_scale = parameters.chunk(2, dim=1)
        return location + 0.5, log_scale.clamp(-5.0, 20.0) - 2.0


class DiscretizedLogisticMixture(Likelihood):
    """Probability of each of the 256 grey levels under a mixture of logistics for each pixel.

    Salimans et al. 2017 (PixelCNN++, arXiv:1701.05517), eq. 1 and 2. The channels of a pixel are
    independent given z, each with a mixture of its own: without section 2.2's coupling of colours.
    """

    quantization = 0.0

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.components = config.likelihood_components or COMPONENTS
        self.maps_per_channel = 3 * self.components

    def log_prob(self, images: Tensor, parameters: Tensor) -> Tensor:
        """Log-probability of the grey levels, nats per image ``[B]``."""
        logits, location, log_scale = self._split(parameters)
        mass = log_mass(images.unsqueeze(1), location, log_scale)
        mixed = torch.logsumexp(torch.log_softmax(logits, dim=1) + mass, dim=1)
        return mixed.flatten(1).sum(1)

    def parameters_of(self, mean: Tensor) -> Tensor:
        """The image as location of every logistic, all alike in weight and scale."""
        zeros = torch.zeros_like(mean).repeat(self.components, 1, 1)
        return torch.cat([zeros, (mean - 0.5).repeat(self.components, 1, 1), zeros])

    def mean(self, parameters: Tensor) -> Tensor:
        """Weighted mean of the locations, each cut to [0, 1] ``[B, C, H, W]``."""
        logits, location, _ = self._split(parameters)
        return averaged(logits, location.clamp(0.0, 1.0))

    def sample(self, parameters: Tensor, generator: torch.Generator) -> Tensor:
        """A draw of one of the logistics, rounded to a grey level ``[B, C, H, W]``."""
        logits, location, log_scale = self._split(parameters)
        uniform = torch.rand(logits.shape, generator=generator, device=logits.device)
        # the largest logit with Gumbel noise added is a draw by weight
        gumbel = logits - torch.log(-torch.log(uniform.clamp(1e-20, 1.0 - 1e-7)))
        chosen = gumbel.argmax(dim=1, keepdim=True)
        uniform = torch.rand(chosen.shape, generator=generator, device=logits.device)
        own = location.gather(1, chosen), log_scale.gather(1, chosen)
        return drawn(*own, uniform).squeeze(1)

    def _split(self, parameters: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits of the weights, locations and log-scales, each ``[B, M, C, H, W]``."""
        logits, location, log_scale = split_maps(parameters, 3, self.components).unbind(1)
        return logits, location + 0.5, log_scale.clamp(-5.0, 20.0) - 2.0


def log_mass(images: Tensor, location: Tensor, log_scale: Tensor) -> Tensor:
    """Log-probability of grey levels under logistics, elementwise."""
    half_bin = 0.5 / (GREY_LEVELS - 1)
    inverse_scale = torch.exp(-log_scale)
    upper = (images - location + half_bin) * inverse_scale
    lower = (images - location - half_bin) * inverse_scale
    # sigmoid(u) - sigmoid(l) = sigmoid(u) sigmoid(-l) (1 - e^(l-u)), stable in both tails
    inside = F.logsigmoid(upper) + F.logsigmoid(-lower)
    inside = inside + torch.log(-torch.expm1(-2.0 * half_bin * inverse_scale))
    return torch.where(
        images < half_bin,
        F.logsigmoid(upper),
        torch.where(images > 1.0 - half_bin, F.logsigmoid(-lower), inside),
    )


def drawn(location: Tensor, log_scale: Tensor, uniform: Tensor) -> Tensor:
    """Grey levels that are the quantiles of uniform noise, elementwise."""
    draw = location + torch.logit(uniform, eps=1e-6) * log_scale.exp()
    return (draw * (GREY_LEVELS - 1)).round().clamp(0, GREY_LEVELS - 1) / (GREY_LEVELS - 1)
