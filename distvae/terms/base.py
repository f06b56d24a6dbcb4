"""What a term is: something more that the model minimizes, beside its objective.

Legend: B batch, R rows: B, or B * K of several draws, those of an image one after another; C
channels, H height, W width.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from torch import Tensor, nn

from distvae.conditions import Context
from distvae.players import Player, Pressure, RunFacts


class View(NamedTuple):
    """What a term looks at."""

    images: Tensor
    """What was to be drawn ``[B, C, H, W]``, in [0, 1]; where pixels are drawn, their levels."""
    means: Tensor
    """What the decoder drew, the likelihood's mean ``[R, C, H, W]``."""
    reconstruction: Tensor
    """What the model minimizes already to draw them, nats per image, a scalar with gradients:
    distortion, and what terms before this one have added."""
    last: nn.Parameter
    """The weight of the decoder's last layer."""
    pressure: Pressure
    """What the schedules say of the step."""
    given: Context | None = None
    """What the images are given; None of a model without."""

    @property
    def draws(self) -> int:
        """Of each image."""
        return len(self.means) // len(self.images)

    @property
    def targets(self) -> Tensor:
        """The image of each row ``[R, C, H, W]``."""
        return self.images if self.draws == 1 else self.images.repeat_interleave(self.draws, 0)

    @property
    def given_of_rows(self) -> Context | None:
        """What each row is given."""
        if self.given is None or self.draws == 1:
            return self.given
        return self.given.repeated(self.draws)


@dataclass(frozen=True)
class Added:
    """What a term adds."""

    loss: Tensor
    """To what the model minimizes, nats per image, a scalar; its weight is in it."""
    extras: Mapping[str, Tensor] = field(default_factory=dict)
    """Scalars worth logging, by name."""
    own: Tensor | None = None
    """What its own network minimizes, a scalar without a gradient for the model; None without
    one."""


class Term(nn.Module, ABC):
    """The contract of this part.

    One that has a network to train is that network: all its parameters are those of its player.
    A network that is not trained is held by :class:`Fixed`; where it belongs to the run, it has
    buffers alone, which are in its checkpoints.

    Args:
        facts: of the run.
    """

    compiles: bool = True
    """Whether its gradient is that of its value, all a compiler can know of it."""
    player: Player | None = None
    """How its network is trained; None without one."""
    heard: int = 0
    """Steps of the run before the first in which the model hears of its network."""
    moves: bool = True
    """Whether its network is trained in the coming steps."""
    told: str = ""
    """What to say of it at the start of a run."""

    def __init__(self, facts: RunFacts) -> None:
        super().__init__()
        self.facts = facts

    @property
    def numbers(self) -> int:
        """What a mean over the numbers of an image is multiplied by, to be in nats per image.

        With ``reduction`` mean the reconstruction is a mean as well, and this is 1.
        """
        return 1 if self.facts.config.reduction == "mean" else self.facts.dims

    @abstractmethod
    def forward(self, view: View) -> Added:
        """What it adds."""
