"""A learned Gaussian for each label.

Legend: B batch, Z latent dimensions, L labels.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from distvae.conditions import Context, ContextShape, summed
from distvae.config import ModelConfig
from distvae.distributions import LOG_SCALE, DiagonalGaussian, log_normal
from distvae.domains import Domain
from distvae.gradients import held
from distvae.kernels import MOST_DIMENSIONS, launched
from distvae.parts import Need, Part
from distvae.posteriors import Posterior
from distvae.priors.base import Encode, Prior


class LabelPart(Part):
    """A learned Gaussian for each label (cvae only)."""

    name = "label"
    builds = "LabelPrior"
    needs = (Need("model", ("cvae",), "it has a Gaussian for each label"),)
    traits = ("by_dimension", "without_encoder")
    usual = True


class LabelPrior(Prior):
    """A learned Gaussian for each label, with full covariance.

    N(mean[y], inverse(W[y]' W[y])) with W lower triangular, its diagonal kept positive by an
    exponential. It begins as N(0, I). What the posterior does within a label is then drawn with
    that label, correlations between dimensions included. The standard deviation of a dimension,
    given those before it, is the inverse of the diagonal's entry; it is held between exp(-10) and
    exp(10) (:data:`~distvae.distributions.LOG_SCALE`).

    Adam moves each parameter by about the learning rate. A prior that follows the posterior ten
    times faster than the networks move it costs less rate, hence its factor.
    """

    learning_rate_factor = 10.0
    invertible = True

    def __init__(self, config: ModelConfig, given: ContextShape) -> None:
        super().__init__()
        dim = config.latent_dim
        self.noise_dim = dim
        self.means = nn.Parameter(torch.zeros(given.rows, dim))
        self.log_diagonals = nn.Parameter(torch.zeros(given.rows, dim))
        self.off_diagonals = nn.Parameter(torch.zeros(given.rows, dim, dim))

    @classmethod
    def build(
        cls, config: ModelConfig, given: ContextShape, domain: Domain, encode: Encode
    ) -> Prior:
        """One Gaussian for each label, or for what is given of several attributes together."""
        return cls(config, given) if given.is_label else AttributesPrior(config, given)

    def kl(self, posterior: Posterior, context: Context | None) -> Tensor | None:
        """Nats ``[B, Z]`` of a Gaussian: one column for each whitened dimension.

        The columns sum to the KL between Gaussians, with W the whitening matrix of the label:
        half of tr(W S W') + |W (m - mean)|^2 - Z - log det(W S W').
        """
        if not isinstance(posterior, DiagonalGaussian):
            return None
        if self._launched(posterior, context):
            assert context is not None
            tables = self.means, self.log_diagonals, self.off_diagonals
            nats: Tensor = _Rate.apply(*posterior, context.label, *tables)  # type: ignore[no-untyped-call]
            return nats
        mean, log_diagonal, whitening = self._of(context)
        distance = torch.bmm(whitening, (posterior.mean - mean).unsqueeze(2)).squeeze(2)
        variance = torch.bmm(whitening.square(), posterior.log_variance.exp().unsqueeze(2))
        log_determinant = 2.0 * log_diagonal + posterior.log_variance
        return 0.5 * (variance.squeeze(2) + distance.square() - 1.0 - log_determinant)

    def _launched(self, posterior: DiagonalGaussian, context: Context | None) -> bool:
        """Whether the rate is computed by kernels, which know one label and its Gaussian."""
        plain = (
            type(self) is LabelPrior and context is not None and self.noise_dim <= MOST_DIMENSIONS
        )
        return plain and launched(posterior.mean, posterior.log_variance, self.means)

    def log_prob(self, z: Tensor, context: Context | None) -> Tensor:
        """Nats ``[B]``."""
        mean, log_diagonal, whitening = self._of(context)
        noise = torch.bmm(whitening, (z - mean).unsqueeze(2)).squeeze(2)
        return (log_normal(noise, 0.0, 0.0) + log_diagonal).sum(1)

    def transform(self, noise: Tensor, context: Context | None) -> Tensor:
        """``mean[y] + inverse(W[y]) noise`` ``[B, Z]``."""
        mean, colouring = (summed(context, table) for table in self.tables())
        return mean + torch.bmm(colouring, noise.unsqueeze(2)).squeeze(2)

    def tables(self) -> tuple[Tensor, Tensor]:
        """Mean ``[L, Z]`` and inverse of W ``[L, Z, Z]``, all that ``transform`` needs."""
        log_diagonal = self._held()
        return self.means, self._inverse(self._whitening(log_diagonal), log_diagonal)

    def whitening(self) -> Tensor:
        """W ``[L, Z, Z]``."""
        return self._whitening(self._held())

    def simplified(self) -> nn.Module:
        """With finished tables."""
        return FixedLabelPrior(self)

    def whiten(self, z: Tensor, context: Context | None) -> Tensor:
        """``W[y] (z - mean[y])`` ``[B, Z]``."""
        mean, _, whitening = self._of(context)
        return torch.bmm(whitening, (z - mean).unsqueeze(2)).squeeze(2)

    def _of(self, context: Context | None) -> tuple[Tensor, Tensor, Tensor]:
        """Mean and logarithm of the diagonal of W ``[B, Z]``, and W ``[B, Z, Z]``."""
        log_diagonal = self._held()
        whitening = self._whitening(log_diagonal).flatten(1)
        found = summed(context, torch.cat([self.means, log_diagonal, whitening], dim=1))
        dim = self.noise_dim
        mean, log_diagonal, whitening = found.tensor_split((dim, 2 * dim), dim=1)
        return mean, log_diagonal, whitening.view(-1, dim, dim)

    def _held(self) -> Tensor:
        """Logarithm of the diagonal of W ``[L, Z]``."""
        return held(self.log_diagonals, LOG_SCALE)

    def _whitening(self, log_diagonal: Tensor) -> Tensor:
        """W ``[L, Z, Z]``."""
        lower = self.off_diagonals.tril(-1)
        return lower + torch.diag_embed(log_diagonal.exp())

    def _inverse(self, lower: Tensor, log_diagonal: Tensor) -> Tensor:
        """Inverse of triangular matrices by products alone, which every runtime can do.

        W = D (I - N) with N strictly lower triangular, so N to the power Z is 0 and
        (I - N)^-1 = (I + N) (I + N^2) (I + N^4) ... ends after log2 Z factors.
        """
        identity = torch.eye(self.noise_dim, dtype=lower.dtype, device=lower.device)
        inverse_diagonal = torch.exp(-log_diagonal)
        power = identity - lower * inverse_diagonal.unsqueeze(2)
        inverse = identity + power
        for _ in range((self.noise_dim - 1).bit_length() - 1):
            power = power @ power
            inverse = inverse + inverse @ power
        return inverse * inverse_diagonal.unsqueeze(1)


class _Rate(torch.autograd.Function):
    """What :meth:`LabelPrior.kl` says, and its gradient, as three launches on a GPU."""

    @staticmethod
    def forward(
        ctx: Any,
        mean: Tensor,
        log_variance: Tensor,
        labels: Tensor,
        means: Tensor,
        log_diagonals: Tensor,
        off_diagonals: Tensor,
    ) -> Tensor:
        from distvae.kernels import labels as kernels

        given = mean, log_variance, labels, means, log_diagonals, off_diagonals
        tables = kernels.Tables(means, log_diagonals, off_diagonals)
        nats, distances = kernels.rate(mean, log_variance, labels, tables, LOG_SCALE)
        ctx.save_for_backward(*given, distances)
        return nats

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        from distvae.kernels import labels as kernels

        mean, log_variance, labels, *tables, distances = ctx.saved_tensors
        own, spread, of_tables = kernels.rate_backward(
            gradient, mean, log_variance, labels, kernels.Tables(*tables), distances, LOG_SCALE
        )
        return own, spread, None, *of_tables


class AttributesPrior(LabelPrior):
    """A Gaussian for what is given of several attributes together.

    Each label, and each attribute that is not known, has a mean, a logarithm of the diagonal of W
    and its entries below; a number has a slope of mean and diagonal. What an example is given is
    added up, so that combinations that no example has are drawn too.
    """

    def __init__(self, config: ModelConfig, given: ContextShape) -> None:
        super().__init__(config, given._replace(rows=given.rows or 1))
        slopes = torch.zeros(2 * config.latent_dim, given.numbers)
        self.slopes = nn.Parameter(slopes) if given.numbers else None

    def transform(self, noise: Tensor, context: Context | None) -> Tensor:
        """``mean + inverse(W) noise`` ``[B, Z]``."""
        mean, log_diagonal, whitening = self._of(context)
        colouring = self._inverse(whitening, log_diagonal)
        return mean + torch.bmm(colouring, noise.unsqueeze(2)).squeeze(2)

    def simplified(self) -> nn.Module:
        """As it is: there is no table of all combinations."""
        return self

    def _of(self, context: Context | None) -> tuple[Tensor, Tensor, Tensor]:
        """Mean and logarithm of the diagonal of W ``[B, Z]``, and W ``[B, Z, Z]``."""
        assert context is not None
        if context.rows is None:  # all are numbers: one Gaussian that they move
            assert context.numbers is not None
            context = context._replace(rows=torch.zeros_like(context.numbers[:, 0]).long())
        flat = summed(context, torch.cat([self.means, self.log_diagonals], dim=1))
        lower = summed(context, self.off_diagonals.tril(-1))
        if self.slopes is not None:
            assert context.numbers is not None
            flat = flat + F.linear(context.numbers.to(flat.dtype), self.slopes)
        mean, log_diagonal = flat.chunk(2, dim=1)
        log_diagonal = held(log_diagonal, LOG_SCALE)
        return mean, log_diagonal, lower + torch.diag_embed(log_diagonal.exp())


class FixedLabelPrior(nn.Module):
    """:class:`LabelPrior` with its tables finished."""

    def __init__(self, trained: LabelPrior) -> None:
        super().__init__()
        self.noise_dim = trained.noise_dim
        mean, colouring = trained.tables()
        self.mean, self.colouring = nn.Parameter(mean), nn.Parameter(colouring.flatten(1))
        self.whitening = nn.Parameter(trained.whitening().flatten(1))

    def transform(self, noise: Tensor, context: Context) -> Tensor:
        """``noise [B, Z]`` and the label to ``[B, Z]``."""
        label = context.label
        return F.embedding(label, self.mean) + self._by(self.colouring, label, noise)

    def noise_for(self, z: Tensor, context: Context) -> Tensor:
        """``W[y] (z - mean[y])`` ``[B, Z]``."""
        label = context.label
        return self._by(self.whitening, label, z - F.embedding(label, self.mean))

    def _by(self, table: Tensor, label: Tensor, vectors: Tensor) -> Tensor:
        """Vectors ``[B, Z]`` times the matrix of their label."""
        matrices = F.embedding(label, table).view(-1, self.noise_dim, self.noise_dim)
        return (matrices @ vectors.unsqueeze(2)).squeeze(2)
