"""A small causal transformer: each code given those before it, and what the example is given.

Legend: B batch, T codes of an example, K codes there are, W width, H heads.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distvae.conditions import Context, ContextShape, summed

HEAD = 32
"""Width of a head, where it divides that of the network."""
START = 0.1
"""Deviation of embeddings and positions at the start."""
BEFORE_ALL = -1e30
"""Logit of attention to what comes later."""
Cache = tuple[Tensor, Tensor]
"""Keys and values of a block ``[B, H, T, W / H]``."""


class Block(nn.Module):
    """Attention to what came before, then two dense layers, each on normalized features.

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

    def forward(self, features: Tensor) -> Tensor:
        """All places at once, ``[B, T, W]``."""
        query, key, value = self._attending(features)
        seen = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        return self._moved(features, seen)

    def step(self, features: Tensor, cache: Cache, place: int | Tensor) -> tuple[Tensor, Cache]:
        """One place ``[B, 1, W]``, and the cache with its key and value.

        Args:
            features: of the place.
            cache: of those before; a place by number is written into it.
            place: which, by number; in a graph int64 [], where all places are looked at.
        """
        query, key, value = self._attending(features)
        keys, values = cache
        if isinstance(place, int):
            keys[:, :, place : place + 1], values[:, :, place : place + 1] = key, value
            keys_seen, values_seen = keys[:, :, : place + 1], values[:, :, : place + 1]
            return self._moved(features, _attended(query, keys_seen, values_seen, None)), cache
        places = torch.arange(keys.shape[2]).view(1, 1, -1, 1)
        keys = torch.where(places == place, key, keys)
        values = torch.where(places == place, value, values)
        later = (places > place).view(1, 1, 1, -1)
        return self._moved(features, _attended(query, keys, values, later)), (keys, values)

    def _attending(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Query, key and value ``[B, H, T, W / H]``."""
        each = _linear(self.attention, _normalized(features))
        heads = each.view(*each.shape[:2], 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        return heads[0], heads[1], heads[2]

    def _moved(self, features: Tensor, seen: Tensor) -> Tensor:
        features = features + _linear(self.out, seen.transpose(1, 2).flatten(2))
        hidden = _linear(self.up, _normalized(features))
        return features + _linear(self.down, hidden * torch.sigmoid(hidden))


class Transformer(nn.Module):
    """log p(code | codes before, context); even at the start.

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

    def forward(self, codes: Tensor, context: Context | None) -> Tensor:
        """Logits ``[B, T, K]`` of each of ``codes [B, T]`` given those before."""
        start = self._start(codes.shape[0], context).unsqueeze(1)
        features = torch.cat([start, F.embedding(codes[:, :-1], self.embedding.weight)], 1)
        features = features + self.places
        for block in self.blocks:
            features = block(features)
        return _linear(self.head, _normalized(features))

    @torch.no_grad()
    def draw(self, gumbels: Tensor, context: Context | None) -> Tensor:
        """Codes ``[B, T]`` by Gumbel noise float64 ``[B, T, K]``.

        It is computed in float64: a code is the largest of noisy logits, and those of two may lie
        so near that float32 would decide otherwise in another runtime, or in another batch.
        """
        start = self._start(gumbels.shape[0], context).double()
        if torch.compiler.is_exporting():
            return self._drawn_in_a_graph(start, gumbels)
        keys = start.new_zeros(len(start), *self._of_cache)
        caches = [(keys.clone(), keys.clone()) for _ in self.blocks]
        before, drawn = start, []
        for place in range(self.length):
            position = self.places[place].double()
            code, _ = self._step(before, caches, place, position, gumbels[:, place])
            before = F.embedding(code, self.embedding.weight).double()
            drawn.append(code)
        return torch.stack(drawn, 1)

    def _drawn_in_a_graph(self, start: Tensor, gumbels: Tensor) -> Tensor:
        """The same as one loop, so that the graph is as large whatever T is."""
        from torch._higher_order_ops.scan import scan  # which loads the compiler

        keys = start[:, :1, None, None] * start.new_zeros(self._of_cache)
        caches = tuple(keys + 0.0 for _ in range(2 * len(self.blocks)))
        places = torch.arange(self.length)

        def step(
            carried: tuple[Tensor, ...], found: tuple[Tensor, ...]
        ) -> tuple[tuple[Tensor, ...], Tensor]:
            before, *flat = carried
            noise, position, place = found
            pairs = list(zip(flat[::2], flat[1::2], strict=True))
            code, after = self._step(before, pairs, place, position, noise)
            following = F.embedding(code, self.embedding.weight).double()
            return (following, *(part for pair in after for part in pair)), code

        along = gumbels.transpose(0, 1), self.places.double(), places
        _, drawn = scan(step, (start, *caches), along)
        codes: Tensor = drawn.transpose(0, 1)
        return codes

    @property
    def _of_cache(self) -> tuple[int, int, int]:
        heads = self.blocks[0].heads
        assert isinstance(heads, int)
        return heads, self.length, self.first.shape[0] // heads

    def _step(
        self,
        before: Tensor,
        caches: list[Cache],
        place: int | Tensor,
        position: Tensor,
        noise: Tensor,
    ) -> tuple[Tensor, list[Cache]]:
        """The code ``[B]`` of a place, given the one before ``[B, W]``, and the new caches."""
        features, after = (before + position).unsqueeze(1), []
        for block, cache in zip(self.blocks, caches, strict=True):
            features, kept = block.step(features, cache, place)  # type: ignore[operator]
            after.append(kept)
        logits = _linear(self.head, _normalized(features)).squeeze(1)
        return (logits + noise).argmax(1), after

    def _start(self, rows: int, context: Context | None) -> Tensor:
        """What stands before the first code ``[B, W]``: the label as a token."""
        if self.labels is None and self.numbers is None:
            return self.first.expand(rows, -1)
        table = None if self.labels is None else self.labels.weight
        linear = None if self.numbers is None else self.numbers.weight
        return self.first + summed(context, table, linear)


def _attended(query: Tensor, keys: Tensor, values: Tensor, later: Tensor | None) -> Tensor:
    """What one place sees of others ``[B, H, 1, W / H]``, but of those that come later."""
    logits = query @ keys.transpose(2, 3) / math.sqrt(query.shape[3])
    if later is not None:
        logits = torch.where(later, BEFORE_ALL, logits)
    return torch.softmax(logits, 3) @ values


def _linear(layer: nn.Module, features: Tensor) -> Tensor:
    """A dense layer in the precision of what it is given."""
    assert isinstance(layer, nn.Linear)
    return F.linear(features, layer.weight.to(features.dtype), layer.bias.to(features.dtype))


def _normalized(features: Tensor) -> Tensor:
    return F.layer_norm(features, features.shape[-1:])
