"""Losses that show that training went wrong: not finite, or exploded."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from distvae.checkpoint import Progress
from distvae.errors import DistvaeError
from distvae.training.plan import State
from distvae.training.session import Session, went_wrong

FACTOR = 100.0
STEPS = 10
"""In a row. A single batch, or fp16 that looks for its scale, may lie anywhere for once."""


class StepLoss(NamedTuple):
    """A step in nats per image."""

    loss: float
    distortion: float
    rate: float
    extras: Mapping[str, float] = {}
    """Further numbers by name."""
    others: Mapping[str, float] = {}
    """What other players minimize, by name."""

    @classmethod
    def mean(cls, rows: Sequence[Sequence[float]], state: State) -> "StepLoss":
        """The mean of rows ``[F]`` that the state has held."""
        loss, distortion, rate, *rest = (
            sum(column) / len(rows) for column in zip(*rows, strict=True)
        )
        extras = dict(zip(state.extras, rest, strict=False))
        others = dict(zip(state.others, rest[len(extras) :], strict=True))
        return cls(loss, distortion, rate, extras, others)

    @property
    def terms(self) -> str:
        """What the loss is made of, for a message."""
        return f"distortion {self.distortion}, rate {self.rate} nats per image"


def check_losses(session: Session, steps: Sequence[StepLoss]) -> None:
    """Look at the losses of the latest steps, and remember what the run's losses are like.

    A loss of nats may be negative, so what is orders of magnitude above the best is measured by
    what the run has seen: see :func:`is_high`. One that is for ``STEPS`` steps has exploded.

    Args:
        session: whose progress is at the last of these steps.
        steps: the latest, one after the other.

    Raises:
        DistvaeError: one is not finite, or they have exploded.
    """
    progress, dims = session.progress, math.prod(session.engine.trained.model.domain.shape)
    for number, losses in enumerate(steps):
        step, loss = progress.step - len(steps) + number + 1, losses.loss
        if not math.isfinite(loss):
            raise went_wrong(
                session.folder, f"the loss of step {step} is {loss}", losses.terms, step
            )
        for name, other in losses.others.items():
            if not math.isfinite(other):
                found = f"the loss of the {name} in step {step} is {other}"
                raise went_wrong(session.folder, found, losses.terms, step)
        if progress.first_loss is None or progress.lowest_loss is None:
            progress.first_loss = progress.lowest_loss = loss
        session.high = session.high + 1 if is_high(loss, progress, dims) else 0
        if session.high == STEPS:
            raise _exploded(session, losses, step)
        progress.lowest_loss = min(progress.lowest_loss, loss)


def is_high(loss: float, progress: Progress, dims: int) -> bool:
    """Whether a loss lies above the lowest by ``FACTOR`` times all that a run knows of its size.

    That is the largest of how far the loss fell since the first step, how far the lowest is from
    zero, and a nat for each pixel and channel.
    """
    first, lowest = progress.first_loss, progress.lowest_loss
    assert first is not None
    assert lowest is not None
    return loss - lowest > FACTOR * max(first - lowest, abs(lowest), dims)


def _exploded(session: Session, told: StepLoss, step: int) -> DistvaeError:
    lowest = session.progress.lowest_loss
    found = (
        f"the loss has exploded: it is {told.loss:.4g} at step {step} and was {lowest:.4g} before"
    )
    return went_wrong(session.folder, found, told.terms, step - STEPS + 1)
