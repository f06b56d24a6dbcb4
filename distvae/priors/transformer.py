"""What transformers over codes are made of: blocks, tables of codes and places, a first token.

Legend: B batch, T codes of an example, K codes there are, L tokens, W width, H heads.
"""

import math
from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distvae.conditions import Context, ContextShape, summed

HEAD = 32
"""Width of a head, where it divides that of the network."""
START = 0.1
"""Deviation of embeddings and positions at the start."""
UNSEEN = -1e30
"""Logit of attention to what is not to be seen."""
Cache = tuple[Tensor, Tensor]
"""Keys and values of a block ``[B, H, L, W / H]``."""


class Block(nn.Module):
    """Attention, then two dense layers, each on normalized features.

    Args:
        width: W.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = width // HEAD if width % HEAD == 0 else 1
        self.attention = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)

    def attending(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Query, key and value ``[B, H, L, W / H]`` of tokens ``[B, L, W]``."""
        each = linear(self.attention, normalized(features))
        heads = each.view(*each.shape[:2], 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        return heads[0], heads[1], heads[2]

    def moved(self, features: Tensor, seen: Tensor) -> Tensor:
        """Tokens ``[B, L, W]`` after they have seen ``[B, H, L, W / H]``."""
        features = features + linear(self.out, seen.transpose(1, 2).flatten(2))
        hidden = linear(self.up, normalized(features))
        return features + linear(self.down, hidden * torch.sigmoid(hidden))


class Transformer(nn.Module, ABC):
    """log p(codes | context), even at the start; codes are drawn by Gumbel noise.

    Args:
        given: what contexts hold.
        length: T.
        codes: K.
        width: W.
        blocks: how many.
    """

    def __init__(self, given: ContextShape, length: int, codes: int, width: int, blocks: int):
        super().__init__()
        self.length, self.codes = length, codes
        self.first = nn.Parameter(START * torch.randn(width))
        self.labels = nn.Embedding(given.rows, width) if given.rows else None
        self.numbers = nn.Linear(given.numbers, width, False) if given.numbers else None
        self.embedding = nn.Embedding(codes, width)
        self.places = nn.Parameter(START * torch.randn(length, width))
        self.blocks = nn.ModuleList(Block(width) for _ in range(blocks))
        self.head = nn.Linear(width, codes)
        for table in filter(None, (self.labels, self.embedding)):
            nn.init.normal_(table.weight, std=START)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    @abstractmethod
    def forward(self, codes: Tensor, context: Context | None) -> Tensor:
        """Logits ``[B, T, K]`` of each of ``codes [B, T]`` given those drawn before it."""

    @abstractmethod
    def draw(self, gumbels: Tensor, context: Context | None) -> Tensor:
        """Codes ``[B, T]`` by Gumbel noise float64 ``[B, T, K]``.

        It is computed in float64: a code is the largest of noisy logits, and those of two may lie
        so near that float32 would decide otherwise in another runtime, or in another batch.
        """

    def embedded(self, codes: Tensor) -> Tensor:
        """``[..., W]`` of codes of any shape."""
        return F.embedding(codes, self.embedding.weight)

    def logits(self, features: Tensor) -> Tensor:
        """``[..., K]`` of the features of a code that is sought ``[..., W]``."""
        return linear(self.head, normalized(features))

    def start(self, rows: int, context: Context | None) -> Tensor:
        """What stands before all codes ``[B, W]``: the label as a token."""
        if self.labels is None and self.numbers is None:
            return self.first.expand(rows, -1)
        table = None if self.labels is None else self.labels.weight
        weight = None if self.numbers is None else self.numbers.weight
        return self.first + summed(context, table, weight)


def attended(query: Tensor, keys: Tensor, values: Tensor, unseen: Tensor | None = None) -> Tensor:
    """What tokens see of others ``[B, H, L, W / H]``, but of those that they are not to see.

    It is written out for draws, which are to be the same in every runtime.
    """
    logits = query @ keys.transpose(2, 3) / math.sqrt(query.shape[3])
    if unseen is not None:
        logits = torch.where(unseen, UNSEEN, logits)
    return torch.softmax(logits, 3) @ values


def linear(layer: nn.Module, features: Tensor) -> Tensor:
    """A dense layer in the precision of what it is given."""
    assert isinstance(layer, nn.Linear)
    return F.linear(features, layer.weight.to(features.dtype), layer.bias.to(features.dtype))


def normalized(features: Tensor) -> Tensor:
    """Each token ``[..., W]`` with mean 0 and deviation 1."""
    return F.layer_norm(features, features.shape[-1:])
