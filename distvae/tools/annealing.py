"""Draws from an unnormalized density of latents, and where it is largest.

Particles are drawn from the prior and carried to the posterior by degrees: at each the likelihood
counts more, particles are resampled by what that changes (Del Moral, Doucet and Jasra 2006), and
moved by Metropolis-adjusted Langevin steps. So draws of several modes come in their proportions.

Legend: B examples, K particles for each, R rows: B * K, those of an example one after another;
Z latent dimensions.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

Density = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Latents ``[R, Z]`` to their log prior and log likelihood, nats ``[R]``."""

Sharpness = Callable[[Tensor, int], Tensor]
"""Latents of the first of every so many particles ``[B, Z]`` to the likelihood's information about
them ``[B, Z, Z]``."""

FRACTION = 0.8
"""Effective particles, of all, that are left when the likelihood comes to count more."""
ACCEPTED = 0.6
"""Share of Langevin steps that are accepted; their length follows it."""
LEAST, MOST = 1e-4, 2.0
"""Of the length of a step, in deviations."""
HALVINGS = 24
AGAIN = 10
"""Steps after which it is looked again how sharp the posterior is."""


class Particles(NamedTuple):
    """Latents with what is known of them."""

    z: Tensor
    """``[R, Z]``."""
    log_prior: Tensor
    log_likelihood: Tensor
    """Nats ``[R]``."""
    prior_slope: Tensor
    likelihood_slope: Tensor
    """Gradients ``[R, Z]``."""

    def at(self, rows: Tensor) -> "Particles":
        """Some of them, int64 ``[R]``."""
        return Particles(*(each[rows] for each in self))

    def where(self, taken: Tensor, others: "Particles") -> "Particles":
        """The others' rows where bool ``[R]`` says so."""
        pairs = zip(self, others, strict=True)
        return Particles(
            *(
                torch.where(taken.view(-1, *[1] * (own.dim() - 1)), other, own)
                for own, other in pairs
            )
        )


class Annealed(NamedTuple):
    """What annealing found."""

    particles: Particles
    origin: Tensor
    """Number of the first particle that each descends from, int64 ``[R]``."""
    log_evidence: Tensor
    """Estimate of the log of the mean likelihood under the prior, nats ``[B]``."""
    length: Tensor
    """Of the last step, in deviations ``[B]``."""
    stages: int


def weighed(density: Density, z: Tensor) -> Particles:
    """Latents with their densities and gradients."""
    with torch.enable_grad():
        given = z.detach().requires_grad_()
        log_prior, log_likelihood = density(given)
        (of_prior,) = torch.autograd.grad(log_prior.sum(), given, retain_graph=True)
        (of_likelihood,) = torch.autograd.grad(log_likelihood.sum(), given)
    return Particles(z, log_prior.detach(), log_likelihood.detach(), of_prior, of_likelihood)


def anneal(
    density: Density,
    sharpness: Sharpness,
    start: Tensor,
    count: int,
    generator: torch.Generator,
    *,
    moves: int = 1,
    stages: int = 200,
    select: Callable[[Tensor], None] | None = None,
    advance: Callable[[float], None] | None = None,
) -> Annealed:
    """Carry draws of the prior to the posterior.

    Args:
        density: whose sum is the posterior's.
        sharpness: of its likelihood.
        start: draws of the prior ``[R, Z]``.
        count: K.
        generator: of the random numbers, on the CPU.
        moves: Langevin steps after each stage.
        stages: at most; the likelihood then counts wholly, whatever is left.
        select: told which rows were kept, int64 ``[R]``, for what else belongs to a particle.
        advance: told the share of the likelihood that counts for the example that is behind.
    """
    batch = len(start) // count
    now = weighed(density, start)
    share = torch.zeros(batch, dtype=start.dtype, device=start.device)
    length = torch.full_like(share, 0.5)
    evidence = torch.zeros_like(share)
    origin = torch.arange(len(start), device=start.device)
    done = 0
    while bool((share < 1.0).any()):
        done += 1
        likelihoods = now.log_likelihood.view(batch, count)
        grown = torch.ones_like(share) if done >= stages else next_share(likelihoods, share)
        weights = (grown - share)[:, None] * likelihoods
        evidence += weights.logsumexp(1) - torch.log(torch.tensor(float(count)))
        kept = resampled(weights, generator)
        now, origin, share = now.at(kept), origin[kept], grown
        if select is not None:
            select(kept)
        precision = _precision(sharpness, now, share, count)
        for _ in range(moves):
            now, length = langevin(density, now, share, length, precision, count, generator)
        if advance is not None:
            advance(float(share.min()))
    return Annealed(now, origin, evidence, length, done)


def settle(
    density: Density,
    sharpness: Sharpness,
    now: Particles,
    length: Tensor,
    generator: torch.Generator,
    steps: int,
) -> Particles:
    """Move particles of the posterior by Langevin steps.

    Args:
        density: of latents.
        sharpness: of its likelihood.
        now: the particles.
        length: of the first step, for each example ``[B]``.
        generator: of the random numbers.
        steps: how many.
    """
    count = len(now.z) // len(length)
    share = torch.ones_like(length)
    for step in range(steps):
        if step % AGAIN == 0:
            precision = _precision(sharpness, now, share, count)
        now, length = langevin(density, now, share, length, precision, count, generator)
    return now


def _precision(sharpness: Sharpness, now: Particles, share: Tensor, count: int) -> Tensor:
    """Of the posterior's Gaussian near the first particle of each example ``[B, Z, Z]``."""
    first = now.z[::count]
    unit = torch.eye(first.shape[1], dtype=first.dtype, device=first.device)
    return unit + share[:, None, None] * sharpness(first, count)


def next_share(likelihoods: Tensor, share: Tensor) -> Tensor:
    """How much the likelihood counts next ``[B]``: as much as leaves particles enough.

    Args:
        likelihoods: log likelihoods ``[B, K]``.
        share: how much it counts now ``[B]``.
    """
    low, high = share.clone(), torch.ones_like(share)
    least = FRACTION * likelihoods.shape[1]

    def enough(grown: Tensor) -> Tensor:
        weights = torch.softmax((grown - share)[:, None] * likelihoods, 1)
        return 1.0 / weights.square().sum(1) >= least

    whole = enough(high)
    for _ in range(HALVINGS):
        middle = 0.5 * (low + high)
        fits = enough(middle)
        low, high = torch.where(fits, middle, low), torch.where(fits, high, middle)
    return torch.where(whole, 1.0, torch.maximum(low, share + 1e-6).clamp(max=1.0))


def resampled(weights: Tensor, generator: torch.Generator, kept: int | None = None) -> Tensor:
    """Rows that are kept, by log weights ``[B, K]``: systematic resampling.

    Args:
        weights: of the particles.
        generator: of the random numbers.
        kept: how many of each example; None keeps K.

    Returns:
        int64 ``[B * kept]``.
    """
    batch, count = weights.shape
    kept = kept or count
    edges = torch.softmax(weights.double(), 1).cumsum(1)
    offset = torch.rand(batch, 1, generator=generator, dtype=torch.float64).to(weights.device)
    points = (torch.arange(kept, device=weights.device) + offset) / kept
    chosen = torch.searchsorted(edges.contiguous(), points).clamp(max=count - 1)
    return (chosen + count * torch.arange(batch, device=weights.device)[:, None]).flatten()


def langevin(
    density: Density,
    now: Particles,
    share: Tensor,
    length: Tensor,
    precision: Tensor,
    count: int,
    generator: torch.Generator,
) -> tuple[Particles, Tensor]:
    """One Metropolis-adjusted Langevin step; the length of the next follows what is accepted.

    Args:
        density: of latents.
        now: the particles.
        share: how much the likelihood counts ``[B]``.
        length: of the step, in deviations ``[B]``.
        precision: of the Gaussian that steps are scaled by, for each example ``[B, Z, Z]``.
        count: K.
        generator: of the random numbers.
    """
    rows = share.repeat_interleave(count)[:, None]
    step = length.repeat_interleave(count)[:, None]
    scale = Scale(precision, count)
    noise = torch.randn(now.z.shape, generator=generator).to(now.z)
    drift = 0.5 * step.square() * scale.covariant(now.prior_slope + rows * now.likelihood_slope)
    asked = weighed(density, now.z + drift + step * scale.drawn(noise))
    slope = asked.prior_slope + rows * asked.likelihood_slope
    back = 0.5 * step.square() * scale.covariant(slope)
    returning = scale.whitened(now.z - asked.z - back) / step
    ratio = asked.log_prior - now.log_prior
    ratio = ratio + rows[:, 0] * (asked.log_likelihood - now.log_likelihood)
    ratio = ratio + 0.5 * (noise.square().sum(1) - returning.square().sum(1))
    uniform = torch.rand(len(now.z), generator=generator).to(now.z)
    taken = uniform.log() < ratio
    accepted = taken.to(length.dtype).view(-1, count).mean(1)
    longer = length * torch.exp(0.5 * (accepted - ACCEPTED))
    return now.where(taken, asked), longer.clamp(LEAST, MOST)


class Scale:
    """Products with a Gaussian's covariance, of rows ``[R, Z]``, K for each precision ``[B, Z, Z]``."""

    def __init__(self, precision: Tensor, count: int) -> None:
        root = torch.linalg.cholesky(precision.double())  # precision = root root^T
        self._root = root.to(precision.dtype)
        self._count = count

    def _grouped(self, rows: Tensor) -> Tensor:
        return rows.view(-1, self._count, rows.shape[1]).transpose(1, 2)

    def _rows(self, grouped: Tensor) -> Tensor:
        return grouped.transpose(1, 2).reshape(-1, grouped.shape[1])

    def covariant(self, rows: Tensor) -> Tensor:
        """Times the covariance."""
        return self._rows(torch.cholesky_solve(self._grouped(rows), self._root))

    def drawn(self, noise: Tensor) -> Tensor:
        """Standard normal noise as noise of this covariance."""
        root = self._root.mT
        return self._rows(torch.linalg.solve_triangular(root, self._grouped(noise), upper=True))

    def whitened(self, rows: Tensor) -> Tensor:
        """The noise of which ``drawn`` makes this."""
        return self._rows(self._root.mT @ self._grouped(rows))


def climb(density: Density, start: Tensor, steps: int = 100, rate: float = 0.05) -> Particles:
    """Where prior and likelihood together are largest near each start, by Adam.

    Args:
        density: of latents.
        start: ``[R, Z]``.
        steps: of the optimizer, whose rate falls to 0.
        rate: of its first step.
    """
    z = start.detach().clone().requires_grad_()
    optimizer = torch.optim.Adam([z], rate)
    with torch.enable_grad():
        for step in range(steps):
            optimizer.param_groups[0]["lr"] = rate * (1.0 - step / steps)
            optimizer.zero_grad()
            (-sum(part.sum() for part in density(z))).backward()  # type: ignore[union-attr]
            optimizer.step()
    found, before = weighed(density, z.detach()), weighed(density, start.detach())
    better = found.log_prior + found.log_likelihood >= before.log_prior + before.log_likelihood
    return before.where(better, found)
