"""What every latent space does: q(z|x) from features, and how noise becomes z.

A space has levels, the one nearest to the noise first. Their latents are drawn one after another,
each given those before it.

Legend: B batch, K draws for an example, R rows: B, or B * K of several draws, those of an example
one after another; S the axes of a level's latents, D dimensions or groups of which a rate is kept.
"""

import functools
import math
import operator
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from distvae.conditions import Context
from distvae.data.batches import ResidentImages
from distvae.errors import DistvaeError
from distvae.posteriors import Posterior

Features = tuple[Tensor, ...]
"""What an encoder gives, finest first: maps ``[B, C, H, W]``, or one vector ``[B, F]``."""
Latents = tuple[Tensor, ...]
"""``[R, *S]`` of each level."""
Each = TypeVar("Each")


class Level(NamedTuple):
    """Some latents that are drawn together."""

    name: str
    shape: tuple[int, ...]
    """S, of one draw."""
    kind: Literal["real", "code"] = "real"
    codes: int = 0
    """How many codes there are to choose from; 0 of real numbers."""

    @property
    def size(self) -> int:
        """How many numbers that is."""
        return math.prod(self.shape)


class Draw(NamedTuple):
    """The latents of one level, drawn from their posterior."""

    level: str
    z: Tensor
    """``[B, *S]``, or ``[B, K, *S]`` where K draws were asked for."""
    rows: Tensor
    """The same as ``[R, *S]``."""
    rate: Tensor
    """KL of posterior to prior, nats ``[B, D]``, the mean of K draws. D is 1 where it is known for
    the level as a whole alone."""
    posterior: Posterior | None = None
    """q(z|x), given the levels before; None of codes."""
    log_p: Tensor | None = None
    """log p(z) given the levels before, nats ``[B]`` or ``[B, K]``; where it was asked for, or the
    rate is estimated with it."""
    log_q: Tensor | None = None
    """log q(z|x), the same."""
    codes: Tensor | None = None
    """int64 ``[B, T]``, of a level of codes."""
    penalty: Tensor | None = None
    """What the encoder pays beside the bound, nats ``[B]``."""
    state: Tensor | None = None
    """What the decoder takes of all levels ``[R, *state_shape]``, where the last level has it at
    hand; else :meth:`LatentSpace.state` finds it."""


class SecondStage(NamedTuple):
    """What of a space is trained at the end of a run, when the rest no longer changes."""

    network: nn.Module
    """It minimizes the rate."""
    share: float
    """Of the steps of a run that it takes."""
    learning_rate: float
    """The peak."""


class LatentSpace(nn.Module, ABC):
    """The contract of this part."""

    levels: tuple[Level, ...]
    compiles: bool = True
    """Whether a pass changes nothing of the space, so that a compiler may take it apart."""
    invertible: bool
    """Whether each latent has one noise that is drawn as it, so that ``whiten`` undoes ``draw``."""

    @property
    @abstractmethod
    def noise_dim(self) -> int:
        """Length of the noise vector that ``draw`` takes."""

    @property
    @abstractmethod
    def infer_dim(self) -> int:
        """Length of the noise vector that ``infer`` takes for each draw."""

    @abstractmethod
    def infer(
        self,
        features: Features,
        noise: Tensor,
        context: Context | None,
        draws: int | None = None,
        densities: bool = False,
    ) -> tuple[Draw, ...]:
        """Draw from the posterior.

        Args:
            features: of the encoder.
            noise: standard normal ``[B, infer_dim]``, or ``[B, K, infer_dim]`` for K draws.
            context: of the conditions ``[B]``.
            draws: K, which have an axis of their own; None for one without it.
            densities: whether ``log_p`` and ``log_q`` are asked for.
        """

    @abstractmethod
    def draw(self, noise: Tensor, context: Context | None) -> Latents:
        """Noise ``[R, noise_dim]`` to latents of every level."""

    def scored(self, noise: Tensor, context: Context | None) -> tuple[Latents, Tensor | None]:
        """What :meth:`draw` makes of the noise, and how what is said of it teaches the prior.

        Returns:
            The latents, and log p(z) of them, nats ``[R]``, where no gradient passes through what
            is drawn; None where it does.
        """
        return self.draw(noise, context), None

    @abstractmethod
    def posteriors(self, features: Features, context: Context | None) -> tuple[Posterior, ...]:
        """q(z|x) of every level, given the means of those before."""

    @property
    def state_shape(self) -> tuple[int, ...]:
        """Shape of what the decoder takes, without the rows."""
        return self.levels[-1].shape

    def state(self, latents: Latents, context: Context | None) -> Tensor:
        """What the decoder takes of the latents; left out, those of the last level."""
        return latents[-1]

    def whiten(self, latents: Latents, context: Context | None) -> Tensor:
        """The noise ``[R, noise_dim]`` that ``draw`` would turn into these latents."""
        raise NotImplementedError(f"{type(self).__name__} is not invertible")

    @property
    def finds_noise(self) -> bool:
        """Whether ``noise_for`` is known."""
        return self.invertible

    def noise_for(self, latents: Latents, context: Context | None) -> Tensor:
        """A noise ``[R, noise_dim]`` that ``draw`` turns into these latents."""
        return self.whiten(latents, context)

    @property
    def second_stage(self) -> SecondStage | None:
        """What is trained when the rest is done; of most spaces nothing."""
        return None

    def begin(self, second: bool) -> None:
        """Told before steps whether they are of the second stage."""

    def prepare(self, images: ResidentImages) -> None:
        """Begin with what the training images are like; most spaces do not need to."""


def only(levels: Sequence[Each], what: str) -> Each:
    """What there is of the level of a space that has one.

    Args:
        levels: something of each level.
        what: is for one level alone, for a message.

    Raises:
        DistvaeError: there are several levels.
    """
    if len(levels) != 1:
        raise DistvaeError(f"{what} is for latents of one level", f"this model has {len(levels)}")
    return levels[0]


def only_vector(levels: Sequence[Level], what: str) -> Level:
    """The level of a space that has one whose latents are a vector.

    Args:
        levels: of the space.
        what: is for such latents alone, for a message.

    Raises:
        DistvaeError: there are several levels, or the latents are maps or codes.
    """
    level = only(levels, what)
    if level.kind == "code":
        raise DistvaeError(
            f"{what} is for latents that are real numbers", "those of this model are codes"
        )
    if len(level.shape) != 1:
        shape = " x ".join(map(str, level.shape))
        raise DistvaeError(
            f"{what} is for latents that are one vector", f"those of this model are {shape}"
        )
    return level


def side_by_side(latents: Latents) -> Tensor:
    """Latents of all levels as one vector ``[R, Z]``."""
    flat = [z.flatten(1) for z in latents]
    return flat[0] if len(flat) == 1 else torch.cat(flat, 1)


def total(parts: Sequence[Tensor]) -> Tensor:
    """The sum of what each level has."""
    return functools.reduce(operator.add, parts)


def estimated_rate(log_p: Tensor, log_q: Tensor, draws: int | None) -> Tensor:
    """The rate ``[B, 1]`` of draws whose densities are ``[B]``, or ``[B, K]`` of K draws."""
    difference = log_q - log_p
    return difference.unsqueeze(1) if draws is None else difference.mean(1, keepdim=True)


def known(density: Tensor | None) -> Tensor:
    """A density that was asked for."""
    assert density is not None
    return density
