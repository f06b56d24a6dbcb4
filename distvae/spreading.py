"""Labels that spread from few examples to all, along a graph of nearest neighbours.

Zhou, Bousquet, Lal, Weston and Schoelkopf 2004, "Learning with local and global consistency".

Legend: N examples, F features, K neighbours, L labels.
"""

from collections.abc import Callable

import torch
from torch import Tensor

NEIGHBOURS = 10
SHARE = 0.99
"""Alpha of the paper: how much of an example's label is its neighbours'."""
ROUNDS = 60
PAIRS = 2**26
"""Distances that are held at once."""


@torch.no_grad()
def nearest(
    features: Tensor, count: int = NEIGHBOURS, advance: Callable[[int], None] = lambda done: None
) -> tuple[Tensor, Tensor]:
    """The nearest other examples of each, exactly: N^2 distances are computed.

    Args:
        features: ``[N, F]``, N above ``count``.
        count: K.
        advance: told the number of examples done.

    Returns:
        Squared distances ``[N, K]``, the least first, and rows int64 ``[N, K]``.
    """
    squares, found = features.square().sum(1), []
    everything = torch.arange(len(features), device=features.device)
    for part in torch.split(everything, max(1, PAIRS // len(features))):
        own = features[part]
        distances = squares[part, None] + squares - 2.0 * own @ features.T
        distances[torch.arange(len(part), device=part.device), part] = torch.inf
        found.append(distances.topk(count, largest=False))
        advance(len(part))
    distances, rows = (torch.cat(each) for each in zip(*found, strict=True))
    return distances.clamp(min=0.0), rows


@torch.no_grad()
def spread(distances: Tensor, rows: Tensor, labels: Tensor, count: int) -> Tensor:
    """The label that reaches each example, int64 ``[N]``; -1 where none does.

    F = a S F + (1 - a) Y goes on for ``ROUNDS`` rounds: Y are the labels that are known, S the
    graph, each of whose weights is divided by the root of the sums of its row and its column. The
    weight of a pair is exp(-4 d^2 / D^2), D the distance of the K-th neighbour, for each of the
    two that is among the other's nearest. Labels that are known stay.

    Args:
        distances: squared, ``[N, K]``, the least first.
        rows: of the neighbours, int64 ``[N, K]``.
        labels: int64 ``[N]``, -1 where one is not known.
        count: L.
    """
    size, neighbours = rows.shape
    scale = distances[:, -1:].clamp(min=torch.finfo(distances.dtype).tiny)
    weights = torch.exp(-4.0 * distances / scale)
    here = torch.arange(size, device=rows.device).repeat_interleave(neighbours)
    there, weights = rows.flatten(), weights.flatten()
    total = torch.zeros(size, dtype=weights.dtype, device=rows.device)
    total = total.index_add(0, here, weights).index_add(0, there, weights)
    weights = weights * (total[here] * total[there]).rsqrt()
    known = labels >= 0
    first = torch.zeros(size, count, dtype=weights.dtype, device=rows.device)
    first[known, labels[known]] = 1.0
    reached = first
    for _ in range(ROUNDS):
        passed = torch.zeros_like(first)
        passed.index_add_(0, here, weights[:, None] * reached[there])
        passed.index_add_(0, there, weights[:, None] * reached[here])
        reached = SHARE * passed + (1.0 - SHARE) * first
    found = torch.where(reached.sum(1) > 0.0, reached.argmax(1), -1)
    return torch.where(known, labels, found)
