"""The levels of a ladder below its first: maps of latents, and the features on the way down.

Legend: B batch, R rows: B, or B * K of several draws; C channels, H height, W width, Z maps of
latents.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distvae.conditions import Context, ContextShape
from distvae.config import ModelConfig
from distvae.distributions import DiagonalGaussian, log_normal, wide
from distvae.gradients import held
from distvae.latents.base import Draw
from distvae.networks.layers import (
    ACTIVATIONS,
    ImageNorm,
    Modulation,
    concatenated_or_modulated,
    joined,
)
from distvae.networks.pyramid import Level, unfold

SMOOTHNESS = math.log(2.0)
"""Of the softplus that makes deviations: they are 1 at 0 and hardly less than linear above."""
FURTHEST = 14.0
"""What a softplus is given at most, up or down: deviations lie between 8.8e-5 and 14."""


def softened(parameters: Tensor) -> DiagonalGaussian:
    """Means, and deviations by a softplus, of ``[R, 2 Z, H, W]``.

    The gradient of a softplus is at most 1, where that of an exponential grows with the deviation
    (Hazami et al. 2022, arXiv:2203.13751, section 4.2).
    """
    mean, raw = wide(parameters).chunk(2, dim=1)
    deviation = F.softplus(held(raw, FURTHEST), beta=SMOOTHNESS)
    return DiagonalGaussian(mean, 2.0 * torch.log(deviation))


def rate_between(posterior: DiagonalGaussian, prior: DiagonalGaussian) -> Tensor:
    """KL of one to the other by map, nats ``[R, Z]``."""
    distance = (posterior.mean - prior.mean).square() + torch.exp(posterior.log_variance)
    log_ratio = prior.log_variance - posterior.log_variance
    nats = 0.5 * (distance * torch.exp(-prior.log_variance) - 1.0 + log_ratio)
    return nats.sum((2, 3))


def density(gaussian: DiagonalGaussian, z: Tensor) -> Tensor:
    """Log-density of maps ``z [R, Z, H, W]``, nats ``[R]``."""
    return log_normal(z, gaussian.mean, gaussian.log_variance).flatten(1).sum(1)


def drawn(
    name: str, z: Tensor, posterior: DiagonalGaussian, prior: DiagonalGaussian, densities: bool
) -> Draw:
    """What there is to say of latents ``z [R, Z, H, W]``."""
    log_p = density(prior, z) if densities else None
    log_q = density(posterior, z) if densities else None
    return Draw(name, z, z, rate_between(posterior, prior), posterior, log_p, log_q)


def by_example(draw: Draw, shape: torch.Size) -> Draw:
    """A draw of rows as one of noise of the shape ``[B, N]`` or ``[B, K, N]``, without N."""
    if len(shape) == 1:
        return draw
    log_p, log_q = (None if each is None else each.view(shape) for each in (draw.log_p, draw.log_q))
    rate = draw.rate.view(*shape, -1).mean(1)
    return draw._replace(
        z=draw.z.view(*shape, *draw.z.shape[1:]), rate=rate, log_p=log_p, log_q=log_q
    )


class Ascent(nn.Module):
    """Features at twice the resolution, by a 1x1 convolution and pixel shuffle."""

    def __init__(self, below: Level, above: Level) -> None:
        super().__init__()
        self.sides = above.sides
        self.conv = nn.Conv2d(below.channels, 4 * above.channels, 1)

    def forward(self, features: Tensor) -> Tensor:
        """``[R, C, H, W]`` to ``[R, C', H', W']``."""
        return unfold(self.conv(features), *self.sides)


class Rung(nn.Module):
    """A top-down block: prior and posterior of a level given the way down, and the way on.

    Posterior and prior share the features of the way down (Sonderby et al. 2016, arXiv:1602.02282);
    these are a residual stream (Child 2021, arXiv:2011.10650). What is added to the stream is
    divided by the root of the number of levels, so that the variances of many add up to that of
    one.

    Args:
        config: of the model.
        level: its resolution.
        maps: Z.
        seen: channels of the encoder's features of that resolution.
        given: what contexts hold.
        scale: of what is added to the stream.
    """

    def __init__(
        self,
        config: ModelConfig,
        level: Level,
        maps: int,
        seen: int,
        given: ContextShape,
        scale: float,
    ) -> None:
        super().__init__()
        channels, self.scale = level.channels, scale
        self.concatenated, modulated = concatenated_or_modulated(config, given)
        self.activation = ACTIVATIONS[config.activation]()
        self.norm = ImageNorm() if config.norm == "layer" else nn.Identity()
        self.to_prior = nn.Conv2d(channels + self.concatenated.width, 2 * maps, 1)
        self.from_features = nn.Conv2d(seen, channels, 1)
        self.from_stream = nn.Conv2d(channels, channels, 1, bias=False)
        self.to_posterior = nn.Conv2d(channels + self.concatenated.width, 2 * maps, 1)
        self.from_latents = nn.Conv2d(maps, channels, 1)
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.of_prior, self.of_posterior, self.of_conv = (
            Modulation(modulated, channels) for _ in range(3)
        )
        for head in (self.to_prior, self.to_posterior):
            for part in head.parameters():  # at the start both are N(0, I)
                nn.init.zeros_(part)

    def prior(self, stream: Tensor, context: Context | None) -> DiagonalGaussian:
        """p(z) given the levels before, of the way down ``[R, C, H, W]``."""
        seen = self.activation(self.of_prior(self.norm(stream), context))
        return softened(self.to_prior(joined(seen, context, self.concatenated)))

    def posterior(
        self, stream: Tensor, features: Tensor, context: Context | None, draws: int | None = None
    ) -> DiagonalGaussian:
        """q(z|x) given the levels before.

        Args:
            stream: the way down ``[R, C, H, W]``.
            features: of the encoder ``[B, C', H, W]``, of the same resolution.
            context: of the rows.
            draws: K, where there are several rows of an example.
        """
        found = self.from_features(features)
        if draws is not None:
            found = found.repeat_interleave(draws, 0)
        found = found + self.from_stream(self.activation(self.norm(stream)))
        seen = self.activation(self.of_posterior(found, context))
        return softened(self.to_posterior(joined(seen, context, self.concatenated)))

    def onward(self, stream: Tensor, z: Tensor, context: Context | None) -> Tensor:
        """The way down with the latents ``z [R, Z, H, W]`` in it."""
        stream = stream + self.scale * self.from_latents(z.to(self.from_latents.weight.dtype))
        inner = self.activation(self.of_conv(self.norm(stream), context))
        out: Tensor = stream + self.scale * self.conv(inner)
        return out
