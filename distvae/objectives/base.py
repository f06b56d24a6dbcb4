"""What an objective is: from a model and a batch to a loss.

Legend: B batch, K draws for an image, C channels, H height, W width, Z latent dimensions.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call

from distvae.batch import Batch
from distvae.config import ObjectiveConfig
from distvae.distributions import DiagonalGaussian, full_precision
from distvae.figures import OF_LEVEL
from distvae.latents import Draw, only, total
from distvae.models import VAE, Terms
from distvae.objectives.balance import balanced_rate
from distvae.players import MODEL, Gather, Player, Pressure, RunFacts, alone
from distvae.terms import Term, View, terms_of


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
    parameters: Tensor | None = None
    """What the decoder made, ``[B, P, ...]``, or ``[B, K, P, ...]`` of K draws, for terms to look
    at; none where they cannot."""

    def plus(self, penalty: Tensor, extras: Mapping[str, Tensor], **others: Tensor) -> "Loss":
        """The same with a penalty more, these extras, and what other players minimize."""
        return replace(self, loss=self.loss + penalty, extras=extras, others=others)

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


class Objective(nn.Module):
    """A loss for each player: the model, and perhaps networks that are trained beside it.

    ``players`` says how each is trained. The name of one beside the model is that of the attribute
    that holds its network. All losses come from one pass and their sum has one backward pass, so a
    loss takes what is another player's without its gradient: a network as :func:`frozen`, latents
    and images detached.

    To any objective terms may be added that look at what the decoder made: :mod:`distvae.terms`.
    """

    compiles: bool = True
    """Whether its gradient is that of its value, all a compiler can know of it."""
    captures: bool = True
    """Whether a step with it can be repeated by the device alone, without a look at its numbers."""
    told: str = ""
    """What to say of it at the start of a run, beside what terms have to say."""

    def __init__(self, facts: RunFacts) -> None:
        super().__init__()
        self.facts = facts
        self.players: dict[str, Player] = {MODEL: Player()}
        self.terms: dict[str, Term] = terms_of(facts)
        for name, term in self.terms.items():
            self.add_module(name, term)
            self.compiles = self.compiles and term.compiles
            if term.player is not None:
                self.players[name] = term.player

    @property
    def draws(self) -> int | None:
        """Noise vectors of an image, along an axis of their own; None is one without the axis."""
        return None

    @property
    def noise_dim(self) -> int:
        """Length of a noise vector."""
        return self.facts.infer_dim

    def forward(self, model: VAE, batch: Batch, pressure: Pressure) -> Loss:
        """The losses of a batch, with what the terms add.

        Args:
            model: what is trained.
            batch: examples and the noise of as many draws as :attr:`draws` says.
            pressure: what the schedules say of the step.
        """
        loss = self.losses(model, batch, pressure)
        if not self.terms:
            return replace(loss, parameters=None)
        return self._with_terms(loss, model, batch, pressure)

    def losses(self, model: VAE, batch: Batch, pressure: Pressure) -> Loss:
        """The objective's own losses, and what the decoder made where terms may look at it."""
        raise NotImplementedError

    @property
    def notes(self) -> tuple[str, ...]:
        """What to say of it and its terms at the start of a run; some may be empty."""
        return self.told, *(term.told for term in self.terms.values())

    @property
    def heard(self) -> int:
        """Steps of the run before the model has heard of every network of a term."""
        return max((term.heard for term in self.terms.values()), default=0)

    def begin(self, players: Collection[str]) -> None:
        """Told before steps who moves in them."""
        for name, term in self.terms.items():
            term.moves = name in players

    def _with_terms(self, loss: Loss, model: VAE, batch: Batch, pressure: Pressure) -> Loss:
        """Each term in turn; what one adds is reconstruction to those after it."""
        assert loss.parameters is not None
        parameters = loss.parameters
        if parameters.dim() > batch.stored.dim():  # of several draws
            parameters = parameters.flatten(0, 1)
        reconstruction = loss.distortion.mean()
        if self.facts.config.reduction == "mean":
            reconstruction = reconstruction / self.facts.dims
        images = model.domain.to_expected_input(batch.stored)
        given = model.conditioner(batch.conditions)
        with full_precision(images.device.type):
            means = model.likelihood.mean(parameters)
        total, extras, others = loss.loss, dict(loss.extras), dict(loss.others)
        for name, term in self.terms.items():
            view = View(images, means, reconstruction, model.decoder.last, pressure, given)
            added = term(view)
            reconstruction = reconstruction + added.loss
            total = total + added.loss
            extras |= added.extras
            if added.own is not None:
                others[name] = added.own
        return Loss(total, loss.distortion, loss.rate, extras, others)

    def bound(self, terms: Terms, pressure: Pressure) -> Loss:
        """The weighted bound, to which most objectives add a penalty."""
        return negative_elbo(terms, pressure.kl_weight, self.facts.config, self.facts.dims)


class DrawsOfBoth(Objective):
    """An objective that draws from the prior as well as from the posterior."""

    @property
    def draws(self) -> int | None:
        """One for the posterior and one for the prior."""
        return 2

    @property
    def noise_dim(self) -> int:
        """Enough for either."""
        return max(self.facts.infer_dim, self.facts.noise_dim)

    def noises(self, batch: Batch) -> tuple[Batch, Tensor]:
        """The batch with noise of the posterior ``[B, N]``, and noise of the prior ``[B, M]``."""
        of_posterior, of_prior = batch.noise.unbind(1)
        whole = batch._replace(noise=of_posterior[:, : self.facts.infer_dim])
        return whole, of_prior[:, : self.facts.noise_dim]


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
    return Loss(loss, distortion, rate, rates_by_level(terms), parameters=terms.parameters)


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
