"""A model's answers to what is seen of pictures: the likeliest latents, draws, and the mean.

Legend: B pictures, K draws for each, R rows: B * K, those of a picture one after another; S the
axes of a picture, P its pixels of all channels, A attributes, Z latent dimensions.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distvae.conditions import Context
from distvae.latents import only_vector, side_by_side
from distvae.models import VAE
from distvae.tools.annealing import Annealed, Particles, anneal, climb, resampled, settle
from distvae.tools.batches import conditions_of
from distvae.tools.corruption import Noise
from distvae.tools.evidence import Counts, Evidence, PixelLaw
from distvae.tools.unknown import each_value

NEAR = 0.05
"""Difference of places by which slopes of the decoder are measured."""
CLIMBERS = 2
"""Draws of each picture from which the likeliest latents are looked for."""


class Settings(NamedTuple):
    """How long is looked for answers."""

    draws: int = 16
    """K."""
    each: int = 8
    """Particles for each label, where one is not known."""
    moves: int = 2
    """Langevin steps after each stage of the annealing."""
    last: int = 30
    """The same after the last."""
    climbing: int = 80
    """Steps to the likeliest latents."""


class Answers(NamedTuple):
    """What may be behind some pictures, float32 in [0, 1]."""

    mean: NDArray[np.float32]
    """The mean over draws of the pixels expected behind what is seen ``[B, *S]``."""
    best: NDArray[np.float32]
    """Those of the likeliest latents ``[B, *S]``."""
    draws: NDArray[np.float32]
    """The decoder's means of draws of the latents, seen pixels kept where they are not noisy
    ``[B, K, *S]``."""
    given: NDArray[np.float32] | None
    """What the decoder was given for each draw ``[B, K, A]``; None of an unconditional model."""
    log_evidence: NDArray[np.float64]
    """Estimate of log p(what is seen), nats ``[B]``."""


class _Target:
    """The posterior of places, each of a row with what it is given.

    A place is the noise that the prior turns into the latents, where each latent has one; of other
    priors, such as mixtures, it is the latent itself.
    """

    def __init__(self, model: VAE, evidence: Evidence, values: Tensor | None) -> None:
        self.model, self.evidence, self.values = model, evidence, values
        self.white = model.latents.invertible

    def start(self, noise: Tensor) -> Tensor:
        """Places of draws of the prior ``[R, Z]``, by noise ``[R, noise_dim]``."""
        if self.white:
            return noise
        return side_by_side(self.model.latents.draw(noise, self.context(self.values)))

    def context(self, values: Tensor | None) -> Context | None:
        """Of rows that are given this ``[R, A]``."""
        if values is None:
            return None
        found: Context | None = self.model.conditioner(conditions_of(self.model, values))
        return found

    def select(self, rows: Tensor) -> None:
        """Keep what these rows are given."""
        self.values = None if self.values is None else self.values[rows]

    def means(self, places: Tensor, values: Tensor | None) -> Tensor:
        """The decoder's means ``[R, P]`` of places with what these are given."""
        context = self.context(values)
        latents = self.model.latents.draw(places, context) if self.white else (places,)
        return self.model.render(latents, context).flatten(1).float()

    def sharpness(self, places: Tensor, count: int) -> Tensor:
        """What seen pixels say of places: the empirical Fisher information ``[B, Z, Z]``.

        Args:
            places: of the first of every so many rows ``[B, Z]``.
            count: of rows for each.
        """
        batch, size = places.shape
        moved = NEAR * torch.eye(size, dtype=places.dtype, device=places.device)
        near = places[:, None] + torch.cat([torch.zeros_like(moved[:1]), moved])
        values = None if self.values is None else self.values[::count]
        with torch.no_grad():
            means = self.means(near.flatten(0, 1), _repeated(values, size + 1))
        means = means.view(batch, size + 1, -1)
        score = self.evidence.score(means[:, 0])
        slopes = (means[:, 1:] - means[:, :1]) / NEAR * score[:, None]
        return slopes @ slopes.mT

    def __call__(self, places: Tensor) -> tuple[Tensor, Tensor]:
        """Log prior and log likelihood, nats ``[R]``."""
        if self.white:
            log_prior = -0.5 * (places.square() + math.log(2.0 * math.pi)).sum(1)
        else:
            prior: Any = self.model.latents.prior
            log_prior = prior.log_prob(places, self.context(self.values)).float()
        return log_prior, self.evidence.log_likelihood(self.means(places, self.values))


def answers(
    model: VAE,
    seen: Tensor,
    known: Tensor,
    given: Tensor | None,
    noise: Noise | None,
    law: PixelLaw,
    settings: Settings,
    generator: torch.Generator,
    advance: Callable[[float], None] | None = None,
) -> Answers:
    """What may be behind pictures of which something is seen.

    Args:
        model: whose latents are one vector.
        seen: pictures ``[B, *S]``; pixels that are not known may be anything.
        known: bool ``[B, *S]``.
        given: what the model is given ``[B, A]``, NaN where that is not known: labels are then
            summed over; None of an unconditional model.
        noise: what was done to known pixels; None where they are as they were.
        law: how pixels lie around the decoder's mean.
        settings: how long is looked.
        generator: of the random numbers, on the CPU.
        advance: told the share of the likelihood that counts already.

    Raises:
        DistvaeError: the latents have several levels, or are maps.
    """
    only_vector(model.latents.levels, "distvae repair")
    shape = seen.shape[1:]
    flat, mask = seen.flatten(1), known.flatten(1)
    channel = noise or Noise("gaussian", 0.0)
    values, groups = (None, 1) if given is None else each_value(model.attributes, given)
    group = settings.draws if groups == 1 else settings.each
    target = _Target(model, Evidence(flat, mask, channel, law), _repeated(values, group))
    rows = len(seen) * groups * group
    noises = torch.randn(rows, model.latents.noise_dim, generator=generator).to(seen)
    with torch.no_grad():
        start = target.start(noises)
    found = anneal(
        *(target, target.sharpness, start, group, generator),
        moves=settings.moves,
        select=target.select,
        advance=advance,
    )
    now, length, evidence = _one_group(target, found, groups, settings, generator)
    now = settle(target, target.sharpness, now, length, generator, settings.last)
    kept = mask & torch.tensor(noise is None)
    return _read(target, now, evidence, flat, kept, settings, shape)


def _repeated(values: Tensor | None, count: int) -> Tensor | None:
    return None if values is None else values.repeat_interleave(count, 0)


def _one_group(
    target: _Target,
    found: Annealed,
    groups: int,
    settings: Settings,
    generator: torch.Generator,
) -> tuple[Particles, Tensor, Tensor]:
    """Particles of all groups of a picture, as many from each as its evidence weighs.

    Returns:
        Those that are kept ``[B * K]``, their length of step ``[B]``, log evidence ``[B]``.
    """
    evidence = found.log_evidence.view(-1, groups)
    whole = evidence.logsumexp(1) - math.log(groups)
    length = found.length.view(-1, groups).mean(1)
    if groups == 1:
        return found.particles, length, whole
    weights = evidence.repeat_interleave(settings.each, 1)
    rows = resampled(weights, generator, settings.draws)
    target.select(rows)
    return found.particles.at(rows), length, whole


@torch.no_grad()
def _read(
    target: _Target,
    now: Particles,
    evidence: Tensor,
    seen: Tensor,
    kept: Tensor,
    settings: Settings,
    shape: torch.Size,
) -> Answers:
    """Pictures of particles; pixels that are kept are those that were seen."""
    batch, count = len(seen), settings.draws
    values = target.values
    means = target.means(now.z, values)
    expected = target.evidence.expected(means).view(batch, count, -1).mean(1)
    drawn = torch.where(kept[:, None], seen[:, None], means.view(batch, count, -1))
    height = (now.log_prior + now.log_likelihood).view(batch, count)
    top = height.topk(min(CLIMBERS, count), 1).indices
    rows = (top + count * torch.arange(batch, device=seen.device)[:, None]).flatten()
    target.select(rows)
    climbed = climb(target, now.z[rows], settings.climbing)
    heights = (climbed.log_prior + climbed.log_likelihood).view(batch, -1)
    first = heights.argmax(1) + heights.shape[1] * torch.arange(batch, device=seen.device)
    target.select(first)
    best = target.evidence.expected(target.means(climbed.z[first], target.values))

    def pictures(pixels: Tensor) -> NDArray[np.float32]:
        shaped = pixels.view(*pixels.shape[:-1], *shape)
        result: NDArray[np.float32] = shaped.clamp(0.0, 1.0).cpu().numpy()
        return result

    return Answers(
        pictures(torch.where(kept, seen, expected)),
        pictures(torch.where(kept, seen, best)),
        pictures(drawn),
        None if values is None else values.view(batch, count, -1).cpu().numpy(),
        evidence.double().cpu().numpy(),
    )


@torch.no_grad()
def count_pixels(
    model: VAE, inputs: Tensor, context: Context | None, noise: Tensor, counts: Counts
) -> None:
    """Count how pixels lie around the decoder's mean of one draw of the posterior.

    Args:
        model: the model.
        inputs: training examples ``[B, *S]`` in [0, 1].
        context: of their conditions.
        noise: standard normal ``[B, infer_dim]``.
        counts: of the pixels.
    """
    means = model.render(model.drawn(inputs, context, noise), context)
    counts.add(means.float().cpu().numpy(), inputs.cpu().numpy())
