"""p(x|z): what the decoder's output parameterizes.

Legend: B batch, C channels, H height, W width, P parameter maps (C times ``maps_per_channel``).
Images are float in [0, 1]. A likelihood is a module because its own parameters, such as a learned
sigma, are trained with the model.
"""

import math
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distvae.config import ModelConfig
from distvae.distributions import log_normal

GREY_LEVELS = 256


class Likelihood(Protocol):
    """The contract of this part."""

    maps_per_channel: int
    """Parameter maps the decoder gives for each image channel."""
    quantization: float
    """Nats per pixel and channel to add to -log p(x|z) so that it counts grey levels: log 256
    for a density over [0, 1], 0 for a probability."""

    def log_prob(self, images: Tensor, parameters: Tensor) -> Tensor:
        """Log p(x|z), nats per image ``[B]``, of ``images [B, C, H, W]`` in [0, 1]."""

    def parameters_of(self, mean: Tensor) -> Tensor:
        """Parameters ``[P, H, W]`` whose mean is this image ``[C, H, W]``, nearly."""

    def mean(self, parameters: Tensor) -> Tensor:
        """E[x|z] ``[B, C, H, W]`` in [0, 1]."""

    def sample(self, parameters: Tensor, generator: torch.Generator) -> Tensor:
        """One draw of x given z ``[B, C, H, W]`` in [0, 1]."""


class Bernoulli(nn.Module):
    """Independent black or white pixels, parameterized by logits.

    Grey targets are taken as probabilities, which gives the cross-entropy of the Keras tutorial;
    it is a likelihood only of black and white images.
    """

    maps_per_channel = 1
    quantization = 0.0

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()

    def log_prob(self, images: Tensor, parameters: Tensor) -> Tensor:
        """Log p(x|z) = sum over pixels of x l - log(1 + e^l), nats per image ``[B]``."""
        loss = F.binary_cross_entropy_with_logits(parameters, images, reduction="none")
        return -loss.flatten(1).sum(1)

    def parameters_of(self, mean: Tensor) -> Tensor:
        """Logits; pixels that are always black or white are not taken to be certain."""
        return torch.logit(mean, eps=1e-3)

    def mean(self, parameters: Tensor) -> Tensor:
        """Probability of white ``[B, C, H, W]``."""
        return torch.sigmoid(parameters)

    def sample(self, parameters: Tensor, generator: torch.Generator) -> Tensor:
        """Black and white images ``[B, C, H, W]``."""
        return torch.bernoulli(torch.sigmoid(parameters), generator=generator)


class Gaussian(nn.Module):
    """Independent normal pixels with one standard deviation, fixed or learned.

    The learned one is the sigma-VAE of Rybkin et al. 2021 (arXiv:2006.13202).
    """

    maps_per_channel = 1
    quantization = math.log(GREY_LEVELS)

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        log_sigma = torch.tensor(math.log(0.1 if config.sigma is None else config.sigma))
        if config.sigma is None:
            self.log_sigma = nn.Parameter(log_sigma)
        else:
            self.register_buffer("log_sigma", log_sigma)

    def log_prob(self, images: Tensor, parameters: Tensor) -> Tensor:
        """Log-density summed over pixels and channels, nats per image ``[B]``."""
        return log_normal(images, parameters, 2.0 * self.log_sigma).flatten(1).sum(1)

    def parameters_of(self, mean: Tensor) -> Tensor:
        """The image itself."""
        return mean

    def mean(self, parameters: Tensor) -> Tensor:
        """The decoder's output, cut to [0, 1] ``[B, C, H, W]``."""
        return parameters.clamp(0.0, 1.0)

    def sample(self, parameters: Tensor, generator: torch.Generator) -> Tensor:
        """Mean plus noise, cut to [0, 1] ``[B, C, H, W]``."""
        noise = torch.randn(parameters.shape, generator=generator, device=parameters.device)
        return (parameters + noise * self.log_sigma.exp()).clamp(0.0, 1.0)


class DiscretizedLogistic(nn.Module):
    """Probability of each of the 256 grey levels: the mass of a logistic in the level's bin.

    Kingma et al. 2016 (arXiv:1606.04934), appendix A.3; the outermost bins reach to infinity.
    """

    maps_per_channel = 2
    quantization = 0.0

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()

    def log_prob(self, images: Tensor, parameters: Tensor) -> Tensor:
        """Log-probability of the grey levels, nats per image ``[B]``."""
        location, log_scale = self._split(parameters)
        half_bin = 0.5 / (GREY_LEVELS - 1)
        inverse_scale = torch.exp(-log_scale)
        upper = (images - location + half_bin) * inverse_scale
        lower = (images - location - half_bin) * inverse_scale
        # sigmoid(u) - sigmoid(l) = sigmoid(u) sigmoid(-l) (1 - e^(l-u)), stable in both tails
        inside = F.logsigmoid(upper) + F.logsigmoid(-lower)
        inside = inside + torch.log(-torch.expm1(-2.0 * half_bin * inverse_scale))
        log_mass = torch.where(
            images < half_bin,
            F.logsigmoid(upper),
            torch.where(images > 1.0 - half_bin, F.logsigmoid(-lower), inside),
        )
        return log_mass.flatten(1).sum(1)

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
        draw = location + torch.logit(uniform, eps=1e-6) * log_scale.exp()
        return (draw * (GREY_LEVELS - 1)).round().clamp(0, GREY_LEVELS - 1) / (GREY_LEVELS - 1)

    def _split(self, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Location around one half and log-scale, bounded so that a bin never vanishes."""
        location, log_scale = parameters.chunk(2, dim=1)
        return location + 0.5, log_scale.clamp(-5.0, 20.0) - 2.0


LIKELIHOODS: dict[str, type[Bernoulli] | type[Gaussian] | type[DiscretizedLogistic]] = {
    "bernoulli": Bernoulli,
    "gaussian": Gaussian,
    "discretized_logistic": DiscretizedLogistic,
}
