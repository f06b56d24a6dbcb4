"""Finite scalar quantization: a code is a few numbers, each rounded to one of a few levels.

Legend: B batch, T codes of an example, D numbers of a code.
"""

import math
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from distvae.conditions import ContextShape
from distvae.config import ModelConfig
from distvae.latents.codes import CodeSpace, CodeSpacePart, Quantized
from distvae.priors import Prior
from distvae.values import Within

LEVELS = (8, 6, 5)
STEEPNESS = 1.6
"""With it a sigmoid of normal numbers is nearly even (arXiv:2601.17124), so levels are used alike.
The paper writes 2 sigmoid(1.6 x) - 1 in place of a tanh."""


@dataclass(frozen=True)
class FsqPart(CodeSpacePart):
    """Codes of a few numbers, each rounded to one of a few levels; the book is not learned."""

    name = "fsq"
    builds = "Fsq"

    fsq_levels: Annotated[tuple[Annotated[int, Within(2, 2**16)], ...], Within(1, 64)] | None = None
    """Levels of each number of a code, whose product is the size of the code book; left out:
    `8,6,5`."""


class Fsq(CodeSpace):
    """FSQ of Mentzer et al. 2023 (arXiv:2309.15505), with a sigmoid in place of their tanh.

    A number x falls to level floor(L sigmoid(1.6 x)) of L, all as wide; the value of a level is its
    middle between -1 and 1. The gradient passes as if nothing were rounded.
    """

    sizes: Tensor
    strides: Tensor

    def __init__(
        self,
        config: ModelConfig,
        shapes: tuple[tuple[int, ...], ...],
        given: ContextShape,
        prior: Prior,
    ) -> None:
        own = config.of(FsqPart)
        levels = own.fsq_levels or LEVELS
        super().__init__(config, shapes, given, prior, math.prod(levels), len(levels))
        strides = [math.prod(levels[:number]) for number in range(len(levels))]
        for name, numbers in (("sizes", levels), ("strides", strides)):
            self.register_buffer(name, torch.tensor(numbers), persistent=False)

    def quantize(self, vectors: Tensor, noise: Tensor | None = None) -> Quantized:
        """By rounding ``[B, T, D]``."""
        share = torch.sigmoid(STEEPNESS * vectors)
        levels = torch.minimum((share * self.sizes).floor().long(), self.sizes - 1)
        soft = 2.0 * share - 1.0
        values = soft + (self._middles(levels, soft) - soft).detach()
        return Quantized((levels * self.strides).sum(2), values)

    def values_of(self, codes: Tensor) -> Tensor:
        """Middles of their levels ``[B, T, D]``."""
        levels = torch.remainder(
            torch.div(codes.unsqueeze(2), self.strides, rounding_mode="floor"), self.sizes
        )
        return self._middles(levels, self.to_vectors.weight)

    def _middles(self, levels: Tensor, like: Tensor) -> Tensor:
        return (2.0 * levels.to(like.dtype) + 1.0) / self.sizes.to(like.dtype) - 1.0
