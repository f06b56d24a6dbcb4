"""A probability for each grey level, without any order among them.

Legend: B batch, C channels, H height, W width, G levels.
"""

from dataclasses import dataclass
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor

from distvae.config import ModelConfig
from distvae.domains import Domain
from distvae.errors import DistvaeError
from distvae.likelihoods.base import Likelihood, averaged, inverted, levels_of, split_maps
from distvae.parts import EVEN_LEVELS, GREY, Part
from distvae.values import Within

MOST = 256
"""Levels."""
LARGEST = 50.0
"""Slope of the logits that a decoder begins with, where a pixel never changes."""


@dataclass(frozen=True)
class CategoricalPart(Part):
    """A probability for each level, without order; gives good bits per pixel."""

    name = "categorical"
    builds = "Categorical"
    needs = (EVEN_LEVELS, GREY)

    levels: Annotated[int, Within(2, 256)] | None = None
    """Grey levels that it tells apart; left out: 256."""


class Categorical(Likelihood):
    """Independent pixels with a logit for each of G even levels, those of the domain unless told.

    Fewer levels describe images rounded to them, so bits per pixel are then those of such images.
    """

    is_density = False
    values: Tensor

    def __init__(self, config: ModelConfig, domain: Domain) -> None:
        super().__init__(config, domain)
        self.maps_per_channel = config.of(CategoricalPart).levels or levels_of(domain)
        if self.maps_per_channel > MOST:
            raise DistvaeError(
                f"--likelihood categorical takes a logit for each level, and there are "
                f"{self.maps_per_channel:,}",
                f"expected at most {MOST}",
                "Take --likelihood discretized_logistic, or --levels 256 with this one.",
            )
        values = torch.linspace(0.0, 1.0, self.maps_per_channel)
        self.register_buffer("values", values, persistent=False)

    def log_prob(self, images: Tensor, parameters: Tensor) -> Tensor:
        """Log-probability of the nearest grey levels, nats per image ``[B]``."""
        levels = (images * (self.maps_per_channel - 1)).round().long()
        return -F.cross_entropy(self._split(parameters), levels, reduction="none").flatten(1).sum(1)

    def parameters_of(self, mean: Tensor) -> Tensor:
        """Logits that rise evenly, or fall, as the mean asks; never so steep as to be certain."""
        values = self.values.to(mean.device).double()

        def mean_of(slope: Tensor) -> Tensor:
            return torch.softmax(slope.unsqueeze(-1) * values, dim=-1) @ values

        slope = inverted(mean_of, mean, LARGEST)
        return (values.to(mean.dtype).view(-1, *[1] * slope.dim()) * slope).flatten(0, 1)

    def mean(self, parameters: Tensor) -> Tensor:
        """E[x|z] ``[B, C, H, W]``."""
        logits = self._split(parameters)
        values = self.values.view(1, -1, *[1] * (logits.dim() - 2))
        return self.domain.cut(averaged(logits, values))

    def sample(self, parameters: Tensor, generator: torch.Generator) -> Tensor:
        """A grey level by its probability ``[B, C, H, W]``."""
        weights = torch.softmax(self._split(parameters), dim=1).movedim(1, -1)
        chosen = torch.multinomial(weights.flatten(0, -2), 1, generator=generator)
        return self.values[chosen].view(weights.shape[:-1])

    def _split(self, parameters: Tensor) -> Tensor:
        """Logits ``[B, G, C, H, W]``."""
        return split_maps(parameters, self.maps_per_channel)
