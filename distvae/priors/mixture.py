"""A mixture of Gaussians.

Legend: B batch, Z latent dimensions, L labels, M components, G sets of components: one for each
label, or 1 that all share; W rows of weights: one for each label, or 1.
"""

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import Annotated, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distvae.conditions import Context, ContextShape, summed
from distvae.config import ModelConfig
from distvae.distributions import LOG_SCALE, LOG_TWO_PI
from distvae.gradients import held
from distvae.parts import Part
from distvae.priors.base import Prior
from distvae.values import Within

COMPONENTS = 50
EXTRA = 2
"""Numbers of the noise that decide on the component."""
USUAL_LENGTH = math.sqrt(2.0 * math.log(2.0))
"""Median length of these numbers."""


class Tables(NamedTuple):
    """All that ``transform`` needs."""

    mean: Tensor
    """``[G * M, Z]``."""
    scale: Tensor
    """Standard deviations ``[G * M, Z]``."""
    thresholds: Tensor
    """Between a component and the next ``[W, M - 1]``."""
    own: bool
    """Whether G is the number of labels."""

    def transform(self, noise: Tensor, context: Context | None) -> Tensor:
        """See :meth:`Mixture.transform`."""
        component = choose(noise, context, self.thresholds, self.own)
        mean, scale = F.embedding(component, self.mean), F.embedding(component, self.scale)
        return mean + scale * noise[:, EXTRA:]

    def noise_for(self, z: Tensor, context: Context | None) -> Tensor:
        """See :meth:`Mixture.noise_for`."""
        rows, size = of_row(self.thresholds, context), self.thresholds.shape[1] + 1
        shares = torch.atan(rows) / math.pi + 0.5
        edges = F.pad(F.pad(shares, (1, 0), value=0.0), (0, 1), value=1.0)
        mean, scale = self._of_components(context, size)
        whitened = (z.unsqueeze(1) - mean) / scale
        density = -0.5 * whitened.square().sum(2) - scale.log().sum(2)
        weights = edges.diff(dim=1).clamp_min(torch.finfo(z.dtype).tiny)
        chosen = (density + weights.log()).argmax(1, keepdim=True)
        middle = 0.5 * (edges[:, :-1] + edges[:, 1:]).expand(z.shape[0], -1).gather(1, chosen)
        angle = math.pi * (middle - 0.5)
        own = whitened.gather(1, chosen.unsqueeze(2).expand(-1, -1, z.shape[1])).squeeze(1)
        return torch.cat([USUAL_LENGTH * angle.sin(), USUAL_LENGTH * angle.cos(), own], dim=1)

    def _of_components(self, context: Context | None, size: int) -> tuple[Tensor, Tensor]:
        """Mean and scale ``[B, M, Z]`` of all that a row may fall to, or ``[1, M, Z]``."""
        tables = (table.view(-1, size, table.shape[1]) for table in (self.mean, self.scale))
        if self.own and context is not None:
            tables = (table.index_select(0, context.label) for table in tables)
        mean, scale = tables
        return mean, scale


class Mixture(Prior):
    """What every mixture of diagonal Gaussians does, whatever its components are.

    Two more numbers of noise than there are latents choose the component by their ratio, which has
    a Cauchy distribution: each has the share of noise that is its weight, at any temperature. The
    choice is made of one product and comparisons, so it is the same in every runtime.
    """

    invertible = False

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        self.noise_dim = latent_dim + EXTRA

    @abstractmethod
    def components(self) -> tuple[Tensor, Tensor, Tensor]:
        """Mean and log-variance ``[G, M, Z]``, logits of the weights ``[W, M]``."""

    def log_prob(self, z: Tensor, context: Context | None) -> Tensor:
        """Nats ``[B]``.

        The squares are multiplied out, so that one product gives them all and no ``[B, G * M, Z]``
        is made; in float64, since their differences are small.
        """
        mean, log_variance, logits = self.components()
        wide = z.double()
        centre, spread = mean.flatten(0, 1).double(), log_variance.flatten(0, 1).double()
        precision = torch.exp(-spread)
        constant = centre.square() * precision + spread + LOG_TWO_PI
        powers = torch.cat([wide.square(), wide, torch.ones_like(wide)], dim=1)
        factors = torch.cat([precision, -2.0 * centre * precision, constant], dim=1)
        densities = (-0.5 * (powers @ factors.T)).to(z.dtype).view(-1, *mean.shape[:2])
        if len(mean) > 1:
            assert context is not None
            own = context.label.view(-1, 1, 1).expand(-1, 1, densities.shape[2])
            densities = densities.gather(1, own).squeeze(1)  # by index an exported batch is fixed
        else:
            densities = densities.squeeze(1)
        log_weights = torch.log_softmax(of_row(logits, context), dim=1)
        return torch.logsumexp(densities + log_weights, dim=1)

    def transform(self, noise: Tensor, context: Context | None) -> Tensor:
        """Noise ``[B, 2 + Z]`` to ``mean + scale * noise`` of a component ``[B, Z]``."""
        return self.tables().transform(noise, context)

    def noise_for(self, z: Tensor, context: Context | None) -> Tensor:
        """A noise ``[B, 2 + Z]`` of the component that ``z [B, Z]`` most probably came from."""
        return self.tables().noise_for(z, context)

    def simplified(self) -> nn.Module:
        """With finished tables."""
        return FixedMixture(self)

    def tables(self) -> Tables:
        """What ``transform`` needs."""
        mean, log_variance, logits = self.components()
        return Tables(
            mean.flatten(0, 1),
            torch.exp(0.5 * log_variance).flatten(0, 1),
            thresholds_of(logits).to(mean.dtype),
            len(mean) > 1,
        )


class FixedMixture(nn.Module):
    """:class:`Mixture` with its tables finished; a VampPrior no longer needs its encoder."""

    def __init__(self, trained: Mixture) -> None:
        super().__init__()
        self.noise_dim = trained.noise_dim
        mean, scale, thresholds, self.own = trained.tables()
        self.mean, self.scale = nn.Parameter(mean), nn.Parameter(scale)
        self.thresholds = nn.Parameter(thresholds)

    def transform(self, noise: Tensor, context: Context | None) -> Tensor:
        """``noise [B, noise_dim]`` and the label, where there is one, to ``[B, Z]``."""
        return self._tables().transform(noise, context)

    def noise_for(self, z: Tensor, context: Context | None) -> Tensor:
        """``[B, Z]`` to ``[B, noise_dim]``."""
        return self._tables().noise_for(z, context)

    def _tables(self) -> Tables:
        return Tables(self.mean, self.scale, self.thresholds, self.own)


@dataclass(frozen=True)
class MixturePart(Part):
    """Learned Gaussians that labels share."""

    name = "mixture"
    builds = "MixturePrior"
    traits = ("of_a_label", "without_encoder")

    prior_components: Annotated[int, Within(1, 2**20)] | None = None
    """Gaussians in all; left out: 50."""


class MixturePrior(Mixture):
    """M learned Gaussians; labels share them, each with weights of its own.

    They follow the posterior faster than the networks move it, as those of the label prior do.
    Standard deviations are held between exp(-10) and exp(10)
    (:data:`~distvae.distributions.LOG_SCALE`).
    """

    learning_rate_factor = 10.0

    def __init__(self, config: ModelConfig, given: ContextShape) -> None:
        super().__init__(config.latent_dim)
        size = config.of(MixturePart).prior_components or COMPONENTS
        self.means = nn.Parameter(torch.randn(size, config.latent_dim))
        self.log_variances = nn.Parameter(torch.zeros(size, config.latent_dim))
        self.weight_logits = nn.Parameter(torch.zeros(max(1, given.rows), size))

    def components(self) -> tuple[Tensor, Tensor, Tensor]:
        """Mean and log-variance ``[1, M, Z]``, logits of the weights ``[W, M]``."""
        log_variance = held(self.log_variances, 2.0 * LOG_SCALE)
        return self.means[None], log_variance[None], self.weight_logits


def choose(noise: Tensor, context: Context | None, thresholds: Tensor, own: bool) -> Tensor:
    """Number ``[B]`` of the component that noise ``[B, 2 + Z]`` falls to, of G * M.

    Args:
        noise: of which the first two numbers decide.
        context: the label, where there is one.
        thresholds: between a component and the next ``[W, M - 1]``.
        own: whether each label has components of its own.
    """
    component = (noise[:, :1] >= of_row(thresholds, context) * noise[:, 1:EXTRA].abs()).sum(1)
    if not own or context is None:
        return component
    return component + context.label * (thresholds.shape[1] + 1)


def thresholds_of(logits: Tensor) -> Tensor:
    """Quantiles of the Cauchy distribution between components ``[W, M - 1]``, of ``[W, M]``."""
    shares = torch.softmax(logits.double(), dim=1).cumsum(1)[:, :-1]
    return torch.tan(math.pi * (shares - 0.5))


def of_row(table: Tensor, context: Context | None) -> Tensor:
    """Rows of ``table [W, ...]`` by label ``[B, ...]``, or its only one ``[1, ...]``."""
    return table if len(table) == 1 else summed(context, table)
