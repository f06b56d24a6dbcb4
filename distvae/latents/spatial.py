"""A map of Gaussian latents for each channel: a few numbers at every place of a coarse image.

Legend: B batch, K draws for an example, R rows: B, or B * K of several draws; Z channels, H height
and W width of the latents.
"""

from dataclasses import dataclass
from typing import Annotated

from torch import Tensor

from distvae.conditions import Context, ContextShape
from distvae.config import ModelConfig
from distvae.distributions import LOG_SCALE, DiagonalGaussian, full_precision, log_normal, wide
from distvae.gradients import held
from distvae.latents.base import Draw, Features, Latents, LatentSpace, Level
from distvae.networks.downscaling import USUAL_CHANNELS
from distvae.networks.layers import convolution_along
from distvae.parts import GRID, Need, Part, Trait
from distvae.posteriors import Posterior
from distvae.priors import Prior
from distvae.values import Within


@dataclass(frozen=True)
class SpatialPart(Part):
    """Gaussian latents at every place of an image made smaller by --downscale."""

    name = "spatial"
    builds = "Spatial"
    needs = (
        GRID,
        Need("network", Trait("any_size"), "its latents lie where the network's maps do"),
        Need("prior", (None, "normal"), "its prior is N(0, I) at every place"),
        Need("posterior", ("gaussian",), "its latents are Gaussian at every place"),
    )
    traits = ("one_level", "places")

    latent_channels: Annotated[int, Within(1, 2**10)] | None = None
    """Latents at every place; left out: 4."""


class Spatial(LatentSpace):
    """``z [R, Z, H, W]`` of a diagonal Gaussian, against N(0, I).

    Images of other sides than the model was built for have latents of other sides; noise is that of
    the sides it was built for.

    Args:
        config: of the model.
        shapes: of the encoder's features, without the batch.
        given: what contexts hold; the features know it already.
        prior: the standard normal, which has nothing to learn.
    """

    invertible = True

    def __init__(
        self,
        config: ModelConfig,
        shapes: tuple[tuple[int, ...], ...],
        given: ContextShape,
        prior: Prior,
    ) -> None:
        super().__init__()
        channels, *sides = shapes[-1]
        maps = config.of(SpatialPart).latent_channels or USUAL_CHANNELS
        self.levels = (Level("z", (maps, *sides)),)
        self.to_posterior = convolution_along(sides)(channels, 2 * maps, 1)

    @property
    def noise_dim(self) -> int:
        """Z * H * W."""
        return self.levels[0].size

    @property
    def infer_dim(self) -> int:
        """Z * H * W."""
        return self.levels[0].size

    def posterior(self, features: Features) -> DiagonalGaussian:
        """q(z|x) of maps ``[B, Z, H, W]``, its deviations held between exp(-10) and exp(10)."""
        mean, log_variance = wide(self.to_posterior(features[-1])).chunk(2, dim=1)
        return DiagonalGaussian(mean, held(log_variance, 2.0 * LOG_SCALE))

    def posteriors(self, features: Features, context: Context | None) -> tuple[Posterior, ...]:
        """That of the one level."""
        return (self.posterior(features),)

    def infer(
        self,
        features: Features,
        noise: Tensor,
        context: Context | None,
        draws: int | None = None,
        densities: bool = False,
    ) -> tuple[Draw, ...]:
        """Draws of the one level; the rate is in closed form by channel ``[B, Z]``."""
        posterior = self.posterior(features)
        each = posterior if draws is None else posterior.over_draws()
        shape = self.levels[0].shape
        z = each.sample(noise.view(*noise.shape[:-1], *shape).to(posterior.mean.dtype))
        rows = z if draws is None else z.flatten(0, 1)
        log_p = log_q = None
        with full_precision(z.device.type):
            rate = posterior.kl_to_standard_normal().flatten(2).sum(2)
            if densities:
                log_p, log_q = (
                    log_normal(z, *of).flatten(-len(shape)).sum(-1) for of in ((0.0, 0.0), each)
                )
        return (Draw("z", z, rows, rate, posterior, log_p, log_q),)

    def draw(self, noise: Tensor, context: Context | None) -> Latents:
        """The noise itself, as maps."""
        return (noise.view(-1, *self.levels[0].shape),)

    def whiten(self, latents: Latents, context: Context | None) -> Tensor:
        """The latents themselves ``[R, Z * H * W]``."""
        return latents[0].flatten(1)
