"""What an objective is: from a model and a batch to a loss.

Legend: B batch, K draws for an image, C channels, H height, W width, Z latent dimensions.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call

from distvae.batch import Batch
from distvae.config import LearningRateScheduleName, ObjectiveConfig
from distvae.distributions import DiagonalGaussian
from distvae.figures import OF_LEVEL
from distvae.latents import Draw, Level, only, total
from distvae.models import VAE, Terms
from distvae.objectives.balance import balanced_rate

MODEL = "model"
"""The player that every objective has."""
PRIOR = "prior"
"""The player that a latent space with a second stage has."""
Gather = Callable[[Tensor], Tensor]
"""The rows that a process has ``[B, ...]`` to those of the whole batch; gradients pass through."""


def alone(rows: Tensor) -> Tensor:
    """The rows themselves: one process has the whole batch."""
    return rows


class Pressure(NamedTuple):
    """What the schedules say of a step; numbers, or scalars on the device."""

    kl_weight: float | Tensor
    capacity: float | Tensor
    """Nats; read only where the rate is held at a capacity."""
    heard: float | Tensor = 1.0
    """Weight of what the other players tell the model: 0 before they start, then 1."""


@dataclass(frozen=True)
class Player:
    """How a network is trained that minimizes a loss of its own.

    A step of the run is a step of each player, from one pass over the batch. What is left out is
    as the run has it.
    """

    learning_rate: float | None = None
    """The peak."""
    schedule: LearningRateScheduleName | None = None
    """From the peak on, over the length of the run and after its warm-up."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Decays of Adam's moments."""
    weight_decay: float | None = None
    start: int = 0
    """Steps of the run for which it stands still."""
    stage: tuple[int, int] | None = None
    """The only steps of the run in which it moves, from the first to before the second; its
    schedule is along these. None: all from ``start`` on."""
    steps: int = 1
    """Its steps in each of the run: those before the last are taken on the same batch, alone."""

    def moves(self, step: int) -> bool:
        """Whether it moves after so many steps of the run."""
        first, end = self.stage or (self.start, sys.maxsize)
        return first <= step < end


def in_two_stages(
    players: Mapping[str, Player], second: Player, steps: int, share: float
) -> dict[str, Player]:
    """Players of which all stand still at the end of a run, where one more is trained alone.

    Args:
        players: of the first stage.
        second: the one more.
        steps: of the run.
        share: of them that are the second stage; either has one at least where there are two.
    """
    border = min(max(1, steps - round(share * steps)), max(1, steps - 1))
    first = {name: replace(each, stage=(each.start, border)) for name, each in players.items()}
    return {**first, PRIOR: replace(second, stage=(border, steps))}


@dataclass(frozen=True)
class Loss:
    """What an objective gives the training loop."""

    loss: Tensor
    """What the model minimizes, a scalar: the mean over the batch of nats per image."""
    distortion: Tensor
    """-log p(x|z), nats per image ``[B]``."""
    rate: Tensor
    """KL of posterior to prior, nats per image ``[B]``."""
    extras: Mapping[str, Tensor] = field(default_factory=dict)
    """Further scalars worth logging, by name."""
    others: Mapping[str, Tensor] = field(default_factory=dict)
    """What each other player minimizes, scalars by its name."""

    def total(self, players: Sequence[str]) -> Tensor:
        """The sum of what these players minimize; each term has a gradient for its own alone."""
        terms = [self.loss if name == MODEL else self.others[name] for name in players]
        return sum(terms[1:], terms[0])

    def detach(self) -> "Loss":
        """The numbers alone."""
        extras = {name: value.detach() for name, value in self.extras.items()}
        others = {name: value.detach() for name, value in self.others.items()}
        numbers = self.loss.detach(), self.distortion.detach(), self.rate.detach()
        return Loss(*numbers, extras, others)


class Summary(NamedTuple):
    """What is kept of the losses of a step."""

    extras: tuple[str, ...]
    """Names of the extras."""
    others: tuple[str, ...]
    """Names of the other players."""
    values: Tensor
    """By micro-batch ``[M, F]``: loss, mean distortion, mean rate, extras, losses of others."""


def summary(losses: Sequence[Loss]) -> Summary:
    """The numbers of the losses of one or several micro-batches."""
    rows = [_numbers(loss) for loss in losses]
    values = torch.stack(rows) if len(rows) > 1 else rows[0].unsqueeze(0)
    return Summary(tuple(losses[0].extras), tuple(losses[0].others), values)


def _numbers(loss: Loss) -> Tensor:
    means = loss.loss, loss.distortion.mean(), loss.rate.mean()
    return torch.stack([*means, *loss.extras.values(), *loss.others.values()])


@dataclass(frozen=True)
class RunFacts:
    """What an objective knows of its run."""

    config: ObjectiveConfig
    """Nothing left out."""
    levels: tuple[Level, ...]
    """Of the latents."""
    infer_dim: int
    """Length of the noise vector that drawing from the posterior takes."""
    noise_dim: int
    """The same of the prior."""
    dims: int
    """Pixels and channels of an image."""
    images: int
    """Images of the training split."""
    gather: Gather = alone


class Objective(nn.Module):
    """A loss for each player: the model, and perhaps networks that are trained beside it.

    ``players`` says how each is trained. The name of one beside the model is that of the attribute
    that holds its network. All losses come from one pass and their sum has one backward pass, so a
    loss takes what is another player's without its gradient: a network as :func:`frozen`, latents
    and images detached.
    """

    compiles: ClassVar[bool] = True
    """Whether its gradient is that of its value, all a compiler can know of it."""
    captures: ClassVar[bool] = True
    """Whether a step with it can be repeated by the device alone, without a look at its numbers."""

    def __init__(self, facts: RunFacts) -> None:
        super().__init__()
        self.facts = facts
        self.players: dict[str, Player] = {MODEL: Player()}

    @property
    def draws(self) -> int | None:
        """Noise vectors of an image, along an axis of their own; None is one without the axis."""
        return None

    @property
    def noise_dim(self) -> int:
        """Length of a noise vector."""
        return self.facts.infer_dim

    def forward(self, model: VAE, batch: Batch, pressure: Pressure) -> Loss:
        """The losses of a batch.

        Args:
            model: what is trained.
            batch: examples and the noise of as many draws as :attr:`draws` says.
            pressure: what the schedules say of the step.
        """
        raise NotImplementedError

    def bound(self, terms: Terms, pressure: Pressure) -> Loss:
        """The weighted bound, to which most objectives add a term."""
        return negative_elbo(terms, pressure.kl_weight, self.facts.config, self.facts.dims)


def frozen(network: nn.Module) -> Callable[..., Tensor]:
    """The network as other players' losses meet it: gradients pass through to what it is given.

    Its own weights get none.
    """
    weights = {name: weight.detach() for name, weight in network.named_parameters()}

    def forward(*inputs: Tensor) -> Tensor:
        result: Tensor = functional_call(network, weights, inputs)
        return result

    return forward


def negative_elbo(
    terms: Terms,
    kl_weight: float | Tensor,
    config: ObjectiveConfig,
    dims: int,
    capacity: float | Tensor = 0.0,
    gather: Gather = alone,
) -> Loss:
    """Negative evidence lower bound, its KL term weighted.

    distortion + kl_weight * rate: with weight 1 the bound of Kingma and Welling 2014 (eq. 10), with
    another the beta-VAE of Higgins et al. 2017. Several draws are averaged over. With free bits the
    KL of each latent dimension, averaged over the batch, counts at least ``free_bits`` nats (Kingma
    et al. 2016, arXiv:1606.04934, eq. 15). With a capacity C the rate is pulled to it, distortion +
    kl_weight * |rate - C|, the KL weight being their gamma (Burgess et al. 2018, arXiv:1804.03599,
    eq. 8). With ``reduction`` mean the distortion is divided by the number of pixels, so the KL
    weight is in effect ``dims`` times larger. Levels may be balanced: :func:`balanced_rate`.
    """
    distortion = -terms.log_likelihood
    if distortion.dim() == 2:
        distortion = distortion.mean(1)
    rate = terms.rate.sum(1)
    if config.kl_balance:
        means = [gather(draw.rate).mean(0) for draw in terms.draws]
        pressed = balanced_rate(means, kl_weight, config)
    elif config.free_bits:
        pressed = gather(terms.rate).mean(0).clamp(min=config.free_bits).sum()
    elif config.capacity is not None:
        pressed = (gather(rate).mean() - capacity).abs()
    else:
        pressed = rate.mean()
    reconstruction = distortion.mean()
    if config.reduction == "mean":
        reconstruction = reconstruction / dims
    loss = reconstruction + kl_weight * pressed
    penalties = [draw.penalty for draw in terms.draws if draw.penalty is not None]
    if penalties:
        loss = loss + total(penalties).mean()
    return Loss(loss, distortion, rate, rates_by_level(terms))


def rates_by_level(terms: Terms) -> dict[str, Tensor]:
    """The mean rate of each level by name, where there are several, nats."""
    if len(terms.draws) == 1:
        return {}
    return {f"rate{OF_LEVEL}{draw.level}": draw.rate.sum(1).mean() for draw in terms.draws}


def loss_of_means(distortion: float, rate: float, config: ObjectiveConfig, dims: int) -> float:
    """The loss of a split that early stopping compares, from its mean distortion and rate.

    It is the bound of one draw at the final KL weight and capacity, without free bits. For ``iwae``
    and ``dreg`` that is a looser bound than the one trained, and for the others the loss without
    the term they add, which belongs to a batch and not to an image.
    """
    if config.reduction == "mean":
        distortion = distortion / dims
    assert config.beta is not None
    return distortion + config.beta * abs(rate - (config.capacity or 0.0))


def one_draw(terms: Terms) -> Draw:
    """That of the one level.

    Raises:
        DistvaeError: there are several.
    """
    return only(terms.draws, "this objective")


def base_of(terms: Terms) -> DiagonalGaussian:
    """The Gaussian of the posterior of the one level."""
    posterior = one_draw(terms).posterior
    assert posterior is not None
    return posterior.base
