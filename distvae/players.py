"""Who is trained in a run, and what objectives and their terms know of the run and of a step.

Legend: B batch.
"""

import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from torch import Tensor, nn

from distvae.conditions import NOTHING, ContextShape
from distvae.config import LearningRateScheduleName, ObjectiveConfig
from distvae.latents import Level

MODEL = "model"
"""The player that every objective has."""
PRIOR = "prior"
"""The player that a latent space with a second stage has."""
Across = Callable[[Tensor], Tensor]
"""What each process has to what all have together."""
Gather = Across
"""The rows that a process has ``[B, ...]`` to those of the whole batch; gradients pass through."""


def alone(own: Tensor) -> Tensor:
    """The same: one process has the whole batch."""
    return own


class Pressure(NamedTuple):
    """What the schedules say of a step; numbers, or scalars on the device."""

    kl_weight: float | Tensor
    capacity: float | Tensor
    """Nats; read only where the rate is held at a capacity."""
    step: float | Tensor = math.inf
    """Steps of the run taken before."""

    def since(self, first: int) -> float | Tensor:
        """1 in steps of the run from ``first`` on, 0 before."""
        if isinstance(self.step, Tensor):
            return (self.step >= first).to(self.step.dtype)
        return float(self.step >= first)


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
class RunFacts:
    """What an objective and its terms know of their run."""

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
    average: Across = alone
    """The mean over processes, without gradients; of one shape on all."""
    shape: tuple[int, ...] = ()
    """Of an example."""
    given: ContextShape = NOTHING
    """What the model's contexts hold."""
    classifier: Callable[[], nn.Module] | None = None
    """Trains a classifier of the labelled training images, or reads it: its maps of images, the
    same on all processes, as :class:`distvae.terms.maps.Convolutions`."""
    labeller: Callable[[], nn.Module] | None = None
    """The same classifier whole: images ``[B, C, H, W]`` in [0, 1] to logits ``[B, L]``. It stands
    still, and its numbers are buffers."""
