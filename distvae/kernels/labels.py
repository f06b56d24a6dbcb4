"""The rate of the label prior and its gradient as three launches of Triton kernels.

The operations of torch take sixty. Needs triton and a GPU.

Legend: B batch, Z latent dimensions, L labels.
"""

# the language of a kernel is Triton's: its values have no types of Python
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator"

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from distvae.kernels.formulas import kept, read

ROWS = 32
"""Examples that a program adds up at once."""


class Tables(NamedTuple):
    """The Gaussians of labels, see :class:`distvae.priors.label.LabelPrior`."""

    means: Tensor
    """``[L, Z]``."""
    log_diagonals: Tensor
    """``[L, Z]``, not held yet."""
    off_diagonals: Tensor
    """``[L, Z, Z]``, of which what lies below the diagonal counts."""


def rate(
    mean: Tensor, log_variance: Tensor, labels: Tensor, tables: Tables, bound: float
) -> tuple[Tensor, Tensor]:
    """Nats ``[B, Z]`` of :meth:`distvae.priors.label.LabelPrior.kl`, and whitened distances.

    Args:
        mean: of the posteriors ``[B, Z]``.
        log_variance: of them ``[B, Z]``.
        labels: int64 ``[B]``.
        tables: of the prior, each without gaps.
        bound: between which logarithms of diagonals are held.
    """
    rows, dim = mean.shape
    outs = torch.empty(2, rows, dim, dtype=mean.dtype, device=mean.device)
    if rows:
        places = *mean.stride(), *log_variance.stride(), labels.stride(0), bound
        _rate[(rows,)](
            *(outs[0], outs[1], mean, log_variance, labels, *tables, *places),
            dim=dim,
            room=_room(dim),
        )
    return outs[0], outs[1]


def rate_backward(
    gradient: Tensor,
    mean: Tensor,
    log_variance: Tensor,
    labels: Tensor,
    tables: Tables,
    distances: Tensor,
    bound: float,
) -> tuple[Tensor, Tensor, Tables]:
    """Gradients of :func:`rate`, for the posteriors and for the tables."""
    rows, dim = mean.shape
    outs = torch.empty(2, rows, dim, dtype=mean.dtype, device=mean.device)
    of_tables = Tables(*(torch.empty_like(table) for table in tables))
    shapes = {"dim": dim, "room": _room(dim)}
    if rows:
        places = *gradient.stride(), *log_variance.stride(), labels.stride(0), bound
        _of_rows[(rows,)](
            *(outs[0], outs[1], gradient, log_variance, labels, *tables[1:], distances, *places),
            **shapes,
        )
    places = *gradient.stride(), *mean.stride(), *log_variance.stride(), labels.stride(0)
    _of_tables[(len(tables.means),)](
        *(*of_tables, gradient, mean, log_variance, labels, *tables, distances),
        *(*places, rows, bound),
        parts=triton.cdiv(rows, ROWS),
        count=ROWS,
        **shapes,
    )
    return outs[0], outs[1], of_tables


def _room(dim: int) -> int:
    """Of a tile with so many columns: what a product takes at least."""
    return max(16, int(triton.next_power_of_2(dim)))


@triton.jit
def _matrix(label, log_diagonals, off_diagonals, bound, dim: tl.constexpr, room: tl.constexpr):
    """The logarithm of the diagonal of a label's W, as learned and as held, and W."""
    i = tl.arange(0, room)
    learned = tl.load(log_diagonals + label * dim + i, mask=i < dim, other=0.0)
    held = tl.minimum(tl.maximum(learned, -bound), bound)
    row, column = i[:, None], i[None, :]
    below = (column < row) & (row < dim)
    lower = tl.load(off_diagonals + label * dim * dim + row * dim + column, mask=below, other=0.0)
    on = (column == row) & (row < dim)
    return learned, held, tl.where(on, tl.exp(held)[:, None], lower)


@triton.jit
def _rate(
    nats, distances, mean, spread, labels, means, log_diagonals, off_diagonals,
    m0, m1, s0, s1, y0, bound, dim: tl.constexpr, room: tl.constexpr,
):  # fmt: skip
    row, i = tl.program_id(0).to(tl.int64), tl.arange(0, room)
    there, label = i < dim, tl.load(labels + row * y0)
    _, held, matrix = _matrix(label, log_diagonals, off_diagonals, bound, dim, room)
    away = read(mean, row, i, m0, m1, there)
    away -= tl.load(means + label * dim + i, mask=there, other=0.0)
    s = read(spread, row, i, s0, s1, there)
    distance = tl.sum(matrix * away[None, :], 1)
    variance = tl.sum(matrix * matrix * tl.exp(s)[None, :], 1)
    rate = 0.5 * (variance + distance * distance - 1.0 - (2.0 * held + s))
    tl.store(nats + row * dim + i, rate, mask=there)
    tl.store(distances + row * dim + i, distance, mask=there)


@triton.jit
def _of_rows(
    of_mean, of_spread, gradient, spread, labels, log_diagonals, off_diagonals, distances,
    g0, g1, s0, s1, y0, bound, dim: tl.constexpr, room: tl.constexpr,
):  # fmt: skip
    row, i = tl.program_id(0).to(tl.int64), tl.arange(0, room)
    there, label = i < dim, tl.load(labels + row * y0)
    _, _, matrix = _matrix(label, log_diagonals, off_diagonals, bound, dim, room)
    g = read(gradient, row, i, g0, g1, there)
    distance = tl.load(distances + row * dim + i, mask=there, other=0.0)
    s = read(spread, row, i, s0, s1, there)
    found = tl.sum((g * distance)[:, None] * matrix, 0)
    tl.store(of_mean + row * dim + i, found, mask=there)
    found = tl.exp(s) * tl.sum(g[:, None] * matrix * matrix, 0) - g
    tl.store(of_spread + row * dim + i, 0.5 * found, mask=there)


@triton.jit
def _of_tables(
    of_means, of_diagonals, of_off, gradient, mean, spread, labels, means, log_diagonals,
    off_diagonals, distances, g0, g1, m0, m1, s0, s1, y0, rows, bound,
    parts: tl.constexpr, count: tl.constexpr, dim: tl.constexpr, room: tl.constexpr,
):  # fmt: skip
    label, i = tl.program_id(0).to(tl.int64), tl.arange(0, room)
    there = i < dim
    learned, held, matrix = _matrix(label, log_diagonals, off_diagonals, bound, dim, room)
    middle = tl.load(means + label * dim + i, mask=there, other=0.0)
    by_distance, by_variance = (
        tl.full([room, room], 0.0, tl.float32),
        tl.full([room, room], 0.0, tl.float32),
    )
    weights, total = tl.full([room], 0.0, tl.float32), tl.full([room], 0.0, tl.float32)
    for part in range(parts):
        row = (part * count + tl.arange(0, count)).to(tl.int64)
        own = tl.load(labels + row * y0, mask=row < rows, other=-1) == label
        inside = own[:, None] & there[None, :]
        at, column = row[:, None], i[None, :]
        g = read(gradient, at, column, g0, g1, inside)
        distance = tl.load(distances + at * dim + column, mask=inside, other=0.0)
        away = read(mean, at, column, m0, m1, inside) - middle[None, :]
        s = read(spread, at, column, s0, s1, inside)
        weighed = g * distance
        by_distance += tl.dot(tl.trans(weighed), away, input_precision="ieee")
        by_variance += tl.dot(tl.trans(g), tl.exp(s), input_precision="ieee")
        weights += tl.sum(weighed, 0)
        total += tl.sum(g, 0)
    tl.store(of_means + label * dim + i, -tl.sum(weights[:, None] * matrix, 0), mask=there)
    of_matrix = by_distance + matrix * by_variance
    row, column = i[:, None], i[None, :]
    there_both = (row < dim) & (column < dim)
    at = of_off + label * dim * dim + row * dim + column
    tl.store(at, tl.where(column < row, of_matrix, 0.0), mask=there_both)
    diagonal = tl.sum(tl.where(column == row, of_matrix, 0.0), 1)
    found = kept(diagonal * tl.exp(held) - total, learned, bound)
    tl.store(of_diagonals + label * dim + i, found, mask=there)
