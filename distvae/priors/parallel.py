"""A masked transformer: codes in a few passes, those of a pass all at once.

As in MaskGIT (Chang et al. 2022, arXiv:2202.04200) a code that is sought is a mask at its place. It
is given all codes that were drawn before, on every side of it. How many are drawn in a pass follows
a cosine: few at first. Which places a pass takes is settled beforehand, and not by how sure the
network is. So p(codes) is the product over the passes of p(code | codes of the passes before), its
logarithm is exact, and codes are drawn from it and nothing else.

Legend: B batch, T codes of an example, K codes there are, P passes, L tokens, W width.
"""

import itertools
import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from distvae.conditions import Context, ContextShape
from distvae.errors import DistvaeError
from distvae.priors.transformer import START, Block, Cache, Transformer, attended


class Parallel(Transformer):
    """log p(code | codes of the passes before, context).

    The tokens of a pass are first those that were drawn in the pass before (of the first pass: the
    start), which see all that is drawn, and then the masks of those sought, which see one another
    too. So one forward holds the tokens of all passes, and a draw keeps the keys of what is drawn.

    Args:
        given: what contexts hold.
        grid: how the T codes of an example lie, such as height and width.
        codes: K.
        width: W.
        blocks: how many.
        passes: P.

    Raises:
        DistvaeError: there are more passes than codes.
    """

    order: Tensor
    back: Tensor
    laid_out: Tensor
    sought: Tensor
    seen: Tensor

    def __init__(
        self,
        given: ContextShape,
        grid: tuple[int, ...],
        codes: int,
        width: int,
        blocks: int,
        passes: int,
    ) -> None:
        length = math.prod(grid)
        if passes > length:
            raise DistvaeError(
                f"--prior-passes {passes:,} is more than there are codes to draw",
                f"an example has {length:,}",
                "Take fewer, or leave it out: one code after another.",
            )
        super().__init__(given, length, codes, width, blocks)
        self.mask = nn.Parameter(START * torch.randn(width))
        self.counts = counts_of(length, passes)
        order = spread(grid)
        for name, table in (("order", order), ("back", order.argsort()), *_plan(self.counts)):
            self.register_buffer(name, torch.tensor(table), persistent=False)

    def forward(self, codes: Tensor, context: Context | None) -> Tensor:
        """Logits ``[B, T, K]`` of each of ``codes [B, T]`` given those of the passes before."""
        start = self.start(codes.shape[0], context).unsqueeze(1)
        places = self.places.index_select(0, self.order)
        drawn = self.embedded(codes.index_select(1, self.order)) + places
        masks = (self.mask + places).expand_as(drawn)
        features = torch.cat([start, drawn, masks], 1).index_select(1, self.laid_out)
        for block in self.blocks:
            assert isinstance(block, Block)
            each = block.attending(features)
            seen = F.scaled_dot_product_attention(*each, attn_mask=self.seen)
            features = block.moved(features, seen)
        found = self.logits(features.index_select(1, self.sought))
        return found.index_select(1, self.back)

    @torch.no_grad()
    def draw(self, gumbels: Tensor, context: Context | None) -> Tensor:
        """See :meth:`Transformer.draw`."""
        drawn = self.start(gumbels.shape[0], context).double().unsqueeze(1)
        places = self.places.double().index_select(0, self.order)
        gumbels = gumbels.index_select(1, self.order)
        caches: list[Cache | None] = [None for _ in self.blocks]
        found, first = [], 0
        for count in self.counts:
            here = slice(first, first + count)
            masks = (self.mask.double() + places[here]).expand(drawn.shape[0], -1, -1)
            logits, caches = self._pass(drawn, masks, caches)
            found.append((logits + gumbels[:, here]).argmax(2))
            drawn = self.embedded(found[-1]).double() + places[here]
            first += count
        return torch.cat(found, 1).index_select(1, self.back)

    def _pass(
        self, drawn: Tensor, masks: Tensor, caches: list[Cache | None]
    ) -> tuple[Tensor, list[Cache | None]]:
        """Logits ``[B, masks, K]`` of those sought, and keys and values of all that is drawn.

        Args:
            drawn: tokens ``[B, drawn, W]`` of the pass before.
            masks: of those sought ``[B, masks, W]``.
            caches: keys and values of what was drawn before that, of each block.
        """
        new, after = drawn.shape[1], []
        features = torch.cat([drawn, masks], 1)
        for block, cache in zip(self.blocks, caches, strict=True):
            assert isinstance(block, Block)
            query, key, value = block.attending(features)
            if cache is not None:
                key, value = torch.cat([cache[0], key], 2), torch.cat([cache[1], value], 2)
            known = key.shape[2] - masks.shape[1]
            after.append((key[:, :, :known], value[:, :, :known]))
            of_drawn = attended(query[:, :, :new], *after[-1])
            of_masks = attended(query[:, :, new:], key, value)
            features = block.moved(features, torch.cat([of_drawn, of_masks], 2))
        return self.logits(features[:, new:]), [*after]


def counts_of(length: int, passes: int) -> tuple[int, ...]:
    """How many of ``length`` codes each of so many passes draws, one at least: a cosine is left."""
    ends = [0]
    for number in range(1, passes + 1):
        left = math.floor(length * math.cos(0.5 * math.pi * (number / passes)))
        ends.append(max(ends[-1] + 1, length - left))
    return tuple(end - start for start, end in itertools.pairwise(ends))


def spread(grid: tuple[int, ...]) -> NDArray[np.int64]:
    """Places of a grid in an order in which the first of them, however many, lie far apart.

    It begins in the middle. Each place that is taken weighs on the others by the inverse square of
    their distance, where opposite sides of the grid meet, and the next is that which bears least;
    of several the first that is read.
    """
    sides = np.array(grid)
    places = np.stack(np.unravel_index(np.arange(sides.prod()), grid), 1)
    order, weight = [np.ravel_multi_index(tuple(sides // 2), grid)], np.zeros(len(places))
    while len(order) < len(places):
        apart = np.abs(places - places[order[-1]])
        apart = np.minimum(apart, sides - apart)
        weight += 1.0 / np.maximum((apart**2).sum(1), 1)
        weight[order[-1]] = np.inf
        order.append(weight.argmin())
    return np.array(order)


def _plan(counts: tuple[int, ...]) -> list[tuple[str, NDArray[Any]]]:
    """How the tokens of all passes lie side by side.

    ``laid_out``: which of start, codes and masks each token is ``[L]``; ``sought``: which tokens
    are the masks ``[T]``; ``seen``: which tokens each sees ``[L, L]``.
    """
    laid_out, number, first, drawn = [], [], 0, [0]
    for index, count in enumerate(counts):
        masks = range(1 + sum(counts) + first, 1 + sum(counts) + first + count)
        laid_out += [*drawn, *masks]
        number += [index] * (len(drawn) + count)
        drawn = [*range(1 + first, 1 + first + count)]
        first += count
    tokens, passes = np.array(laid_out), np.array(number)
    masked = tokens > sum(counts)
    earlier = ~masked & (passes <= passes[:, None])
    together = masked & masked[:, None] & (passes == passes[:, None])
    return [
        ("laid_out", tokens),
        ("sought", masked.nonzero()[0]),
        ("seen", earlier | together),
    ]
