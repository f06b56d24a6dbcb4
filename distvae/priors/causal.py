"""A causal transformer: codes one after another, each given those before it.

Legend: B batch, T codes of an example, K codes there are, W width, H heads.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from distvae.conditions import Context
from distvae.priors.transformer import Block, Cache, Transformer, attended


class Causal(Transformer):
    """log p(code | codes before, context), in the order in which codes are read."""

    def forward(self, codes: Tensor, context: Context | None) -> Tensor:
        """Logits ``[B, T, K]`` of each of ``codes [B, T]`` given those before."""
        start = self.start(codes.shape[0], context).unsqueeze(1)
        features = torch.cat([start, self.embedded(codes[:, :-1])], 1) + self.places
        for block in self.blocks:
            assert isinstance(block, Block)
            seen = F.scaled_dot_product_attention(*block.attending(features), is_causal=True)
            features = block.moved(features, seen)
        return self.logits(features)

    @torch.no_grad()
    def draw(self, gumbels: Tensor, context: Context | None) -> Tensor:
        """See :meth:`Transformer.draw`."""
        start = self.start(gumbels.shape[0], context).double()
        if torch.compiler.is_exporting():
            return self._drawn_in_a_graph(start, gumbels)
        keys = start.new_zeros(len(start), *self._of_cache)
        caches = [(keys.clone(), keys.clone()) for _ in self.blocks]
        before, drawn = start, []
        for place in range(self.length):
            position = self.places[place].double()
            code, _ = self._step(before, caches, place, position, gumbels[:, place])
            before = self.embedded(code).double()
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
            following = self.embedded(code).double()
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
            assert isinstance(block, Block)
            seen, kept = _seen(block, features, cache, place)
            features = block.moved(features, seen)
            after.append(kept)
        return (self.logits(features).squeeze(1) + noise).argmax(1), after


def _seen(
    block: Block, features: Tensor, cache: Cache, place: int | Tensor
) -> tuple[Tensor, Cache]:
    """What one place ``[B, 1, W]`` sees, and the cache with its key and value.

    Args:
        block: of the network.
        features: of the place.
        cache: of those before; a place by number is written into it.
        place: which, by number; in a graph int64 [], where all places are looked at.
    """
    query, key, value = block.attending(features)
    keys, values = cache
    if isinstance(place, int):
        keys[:, :, place : place + 1], values[:, :, place : place + 1] = key, value
        keys_seen, values_seen = keys[:, :, : place + 1], values[:, :, : place + 1]
        return attended(query, keys_seen, values_seen), cache
    places = torch.arange(keys.shape[2]).view(1, 1, -1, 1)
    keys = torch.where(places == place, key, keys)
    values = torch.where(places == place, value, values)
    later = (places > place).view(1, 1, 1, -1)
    return attended(query, keys, values, later), (keys, values)
