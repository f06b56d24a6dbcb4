"""Latent spaces for tests: a look into the usual one, one of two levels, and one of maps.

Legend: B batch, K draws for an example, R rows: B, or B * K of several draws.
"""

# torch leaves functions untyped
# mypy: disable-error-code="no-untyped-call"

from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence

from distvae.conditions import Context, ContextShape
from distvae.config import ModelConfig
from distvae.distributions import DiagonalGaussian
from distvae.latents import Draw, Features, Latents, LatentSpace, Level, Shapes
from distvae.latents.gaussian import GaussianSpace
from distvae.latents.heads import MapHead
from distvae.models import VAE
from distvae.posteriors import Posterior
from distvae.priors import Prior

TOP = 2
OTHER_SPACES: dict[str, dict[str, Any]] = {
    "ladder": {"network": "conv", "levels": 4, "width": 0.1},
    "spatial": {"latent_channels": 2, "downscale": 4, "width": 0.25, "attention": True},
}
"""By the name of a space that is not one vector, settings of a model with it."""

ABOUT_LABELS = ("m2", "obedience")
"""Objectives of models that are given labels."""


def plain(objective: str) -> dict[str, Any]:
    """Settings of a model that this objective takes, without labels where it can be."""
    model = "cvae" if objective in ABOUT_LABELS else "vae"
    return {"objective": objective, "model": model, "prior": "normal"}


def gaussian(model: VAE) -> GaussianSpace:
    """That of a model whose latents are one vector of Gaussians."""
    assert isinstance(model.latents, GaussianSpace)
    return model.latents


def vector(size: int) -> tuple[Level, ...]:
    """The levels of a space that is one vector."""
    return (Level("z", (size,)),)


class TwoLevels(LatentSpace):
    """q(z2|x) q(z1|z2, x) against N(z2; 0, I) p(z1|z2); the decoder sees z1."""

    invertible = True

    def __init__(
        self, config: ModelConfig, shapes: Shapes, given: ContextShape, prior: Prior
    ) -> None:
        super().__init__()
        self.levels = (Level("z2", (TOP,)), Level("z1", (config.latent_dim,)))
        (features,) = shapes[-1]
        self.upper = nn.Linear(features, 2 * TOP)
        self.lower = nn.Linear(features + TOP, 2 * config.latent_dim)
        self.conditional = nn.Linear(TOP, 2 * config.latent_dim)

    @property
    def noise_dim(self) -> int:
        return TOP + self.levels[1].size

    @property
    def infer_dim(self) -> int:
        return self.noise_dim

    def infer(
        self,
        features: Features,
        noise: Tensor,
        context: Context | None,
        draws: int | None = None,
        densities: bool = False,
    ) -> tuple[Draw, ...]:
        if draws is None:
            return self._of_rows(features[-1], noise, noise.shape[:1])
        rows = features[-1].repeat_interleave(draws, 0)
        return self._of_rows(rows, noise.flatten(0, 1), noise.shape[:2])

    def _of_rows(self, features: Tensor, noise: Tensor, shape: torch.Size) -> tuple[Draw, ...]:
        """Every density of noise ``[R, N]``; of K draws rates are averaged."""

        def by_draws(rows: Tensor) -> Tensor:
            return rows.view(*shape, *rows.shape[1:])

        found = []
        q, p = _normal(self.upper(features)), Normal(torch.zeros(TOP), torch.ones(TOP))
        for level, part in zip(self.levels, (noise[:, :TOP], noise[:, TOP:]), strict=True):
            z = q.mean + q.stddev * part
            rate = by_draws(kl_divergence(q, p))
            found.append(
                Draw(
                    level.name,
                    by_draws(z),
                    z,
                    rate if len(shape) == 1 else rate.mean(1),
                    DiagonalGaussian(q.mean, 2.0 * q.stddev.log()),
                    by_draws(p.log_prob(z).sum(1)),
                    by_draws(q.log_prob(z).sum(1)),
                )
            )
            if level.name == "z2":
                q = _normal(self.lower(torch.cat([features, z], 1)))
                p = _normal(self.conditional(z))
        return tuple(found)

    def draw(self, noise: Tensor, context: Context | None) -> Latents:
        upper = noise[:, :TOP]
        p = _normal(self.conditional(upper))
        return upper, p.mean + p.stddev * noise[:, TOP:]

    def whiten(self, latents: Latents, context: Context | None) -> Tensor:
        p = _normal(self.conditional(latents[0]))
        return torch.cat([latents[0], (latents[1] - p.mean) / p.stddev], 1)

    def posteriors(self, features: Features, context: Context | None) -> tuple[Posterior, ...]:
        upper = _gaussian(self.upper(features[-1]))
        return upper, _gaussian(self.lower(torch.cat([features[-1], upper.mean], 1)))


class Maps(LatentSpace):
    """Two maps of the size of the coarsest features, against N(0, I); rates by map."""

    invertible = False

    def __init__(
        self, config: ModelConfig, shapes: Shapes, given: ContextShape, prior: Prior
    ) -> None:
        super().__init__()
        _, *sides = shapes[-1]
        self.levels = (Level("maps", (2, *sides)),)
        self.head = MapHead(config, shapes[-1], given)
        self.to_posterior = nn.Conv2d(self.head.out_channels, 4, 1)

    @property
    def noise_dim(self) -> int:
        return self.levels[0].size

    @property
    def infer_dim(self) -> int:
        return self.noise_dim

    def infer(
        self,
        features: Features,
        noise: Tensor,
        context: Context | None,
        draws: int | None = None,
        densities: bool = False,
    ) -> tuple[Draw, ...]:
        assert draws is None
        (q,) = self.posteriors(features, context)
        z = q.sample(noise.view(-1, *self.levels[0].shape))
        return (Draw("maps", z, z, q.base.kl_to_standard_normal().sum((2, 3)), q),)

    def draw(self, noise: Tensor, context: Context | None) -> Latents:
        return (noise.view(-1, *self.levels[0].shape),)

    def posteriors(self, features: Features, context: Context | None) -> tuple[Posterior, ...]:
        return (_gaussian(self.to_posterior(self.head(features[-1], context))),)


def _normal(parameters: Tensor) -> Normal:
    mean, log_variance = parameters.chunk(2, 1)
    return Normal(mean, (0.5 * log_variance).exp(), validate_args=False)  # exported as it is


def _gaussian(parameters: Tensor) -> DiagonalGaussian:
    return DiagonalGaussian(*parameters.chunk(2, 1))
