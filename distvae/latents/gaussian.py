"""One vector of Gaussian latents, with a prior and perhaps a flow on the posterior.

Legend: B batch, K draws for an example, R rows: B, or B * K of several draws; Z latent dimensions.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from torch import Tensor, nn

from distvae.conditions import Context, ContextShape
from distvae.config import ModelConfig
from distvae.data.batches import ResidentImages
from distvae.distributions import LOG_SCALE, DiagonalGaussian, full_precision, wide
from distvae.flows import CouplingFlow
from distvae.gradients import held
from distvae.latents.base import Draw, Features, Latents, LatentSpace, Level, estimated_rate
from distvae.latents.heads import FlatHead
from distvae.parts import Part
from distvae.posteriors import FlowPosterior, Posterior
from distvae.priors import Prior
from distvae.values import Within


@dataclass(frozen=True)
class GaussianSpacePart(Part):
    """One vector of Gaussian latents, with a prior."""

    name = "gaussian"
    builds = "GaussianSpace"
    traits = ("one_level",)
    usual = True

    posterior: Literal["gaussian", "flow"] = "gaussian"
    """q(z|x): a diagonal `gaussian`, or one with a coupling `flow` on top."""
    flow_layers: Annotated[int, Within(2, 2**10)] = 6
    """Coupling layers of --posterior flow."""
    flow_width: Annotated[int, Within(1, 2**20)] = 128
    """Hidden units of a coupling layer."""


class GaussianSpace(LatentSpace):
    """``z [R, Z]`` of a diagonal Gaussian, against any of the priors.

    Args:
        config: of the model.
        shapes: of the encoder's features, without the batch.
        given: what contexts hold.
        prior: p(z).
    """

    def __init__(
        self,
        config: ModelConfig,
        shapes: tuple[tuple[int, ...], ...],
        given: ContextShape,
        prior: Prior,
    ) -> None:
        super().__init__()
        self.levels = (Level("z", (config.latent_dim,)),)
        self.prior = prior
        self.head = FlatHead(config, shapes[-1], given)
        self.to_posterior = nn.Linear(self.head.out_features, 2 * config.latent_dim)
        own, self.flow = config.of(GaussianSpacePart), None
        if own.posterior == "flow":
            layers, width = own.flow_layers, own.flow_width
            features = self.head.out_features
            self.flow = CouplingFlow(config.latent_dim, layers, width, features)

    @property
    def noise_dim(self) -> int:
        """That of the prior."""
        return self.prior.noise_dim

    @property
    def infer_dim(self) -> int:
        """Z."""
        return self.levels[0].size

    @property
    def invertible(self) -> bool:  # type: ignore[override]
        """Whether the prior is."""
        return self.prior.invertible

    def posterior(self, features: Features, context: Context | None) -> Posterior:
        """q(z|x).

        Its standard deviations, before a flow, are held between exp(-10) and exp(10)
        (:data:`~distvae.distributions.LOG_SCALE`).
        """
        flat = self.head(features[-1], context)
        mean, log_variance = wide(self.to_posterior(flat)).chunk(2, dim=1)
        base = DiagonalGaussian(mean, held(log_variance, 2.0 * LOG_SCALE))
        if self.flow is None:
            return base
        return FlowPosterior(base, wide(flat), self.flow.weights())

    def posteriors(self, features: Features, context: Context | None) -> tuple[Posterior, ...]:
        """That of the one level."""
        return (self.posterior(features, context),)

    def infer(
        self,
        features: Features,
        noise: Tensor,
        context: Context | None,
        draws: int | None = None,
        densities: bool = False,
    ) -> tuple[Draw, ...]:
        """Draws of the one level; the rate is in closed form ``[B, Z]`` where there is one."""
        posterior = self.posterior(features, context)
        each = posterior if draws is None else posterior.over_draws()
        z = each.sample(noise.to(posterior.base.mean.dtype))
        rows = z if draws is None else z.flatten(0, 1)
        log_p = log_q = None
        with full_precision(z.device.type):
            rate = self.prior.kl(posterior, context)
            if rate is None or densities:
                log_p, log_q = self._densities(each, z, rows, context, draws)
                rate = estimated_rate(log_p, log_q, draws) if rate is None else rate
        return (Draw("z", z, rows, rate, posterior, log_p, log_q),)

    def _densities(
        self,
        posterior: Posterior,
        z: Tensor,
        rows: Tensor,
        context: Context | None,
        draws: int | None,
    ) -> tuple[Tensor, Tensor]:
        """Log p(z) and log q(z|x), nats ``[B]`` or ``[B, K]``."""
        if draws is None:
            z = rows = z.view_as(z)  # whose gradients are summed up before the decoder's is added
        elif context is not None:
            context = context.repeated(draws)
        return self.prior.log_prob(rows, context).view(z.shape[:-1]), posterior.log_prob(z)

    def draw(self, noise: Tensor, context: Context | None) -> Latents:
        """Of the prior ``[R, Z]``."""
        return (self.prior.transform(noise, context),)

    def whiten(self, latents: Latents, context: Context | None) -> Tensor:
        """By the prior ``[R, Z]``."""
        return self.prior.whiten(latents[0], context)

    @property
    def finds_noise(self) -> bool:
        """Every prior finds it."""
        return True

    def noise_for(self, latents: Latents, context: Context | None) -> Tensor:
        """By the prior ``[R, noise_dim]``."""
        return self.prior.noise_for(latents[0], context)

    def prepare(self, images: ResidentImages) -> None:
        """The prior's beginning."""
        self.prior.prepare(images)
