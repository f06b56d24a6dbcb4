"""AdamW and a moving average over many tensors as one launch each. Needs triton and a GPU.

The kernels of torch divide many tensors into parts of 65,536 numbers, which keep a few of a GPU's
multiprocessors busy, and the others waiting.

Legend: T tensors of a list, P programs.
"""

# the language of a kernel is Triton's: its values have no types of Python
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator"

import math
from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from distvae.kernels.formulas import expm1

LANES = 1024
"""Numbers of a program."""


class Together:
    """Lists of float32 tensors, the first of each of one size, and so on, as kernels find them.

    The tensors must stay where they are.

    Args:
        lists: of T tensors each, in which no numbers lie twice and none are left out.
    """

    def __init__(self, *lists: Sequence[Tensor]) -> None:
        self._lists, device = lists, lists[0][0].device
        self.sizes = [tensor.numel() for tensor in lists[0]]
        parts = [
            (at, start) for at, size in enumerate(self.sizes) for start in range(0, size, LANES)
        ]
        self.programs = len(parts)
        begins = [sum(self.sizes[:at]) for at in range(len(self.sizes))]
        addresses = [[tensor.data_ptr() for tensor in each] for each in lists]
        self.places = torch.tensor([self.sizes, begins, *addresses], device=device)
        """Numbers of each tensor, those before it, and where it begins in each list."""
        self.parts = torch.tensor(parts, dtype=torch.int32, device=device)
        """Tensor of a program, and the first of its numbers, ``[P, 2]``."""


def adamw(
    tables: Together,
    gradients: Sequence[Tensor],
    rate: Tensor,
    count: Tensor,
    betas: tuple[float, float],
    decay: float,
    eps: float,
) -> None:
    """A step of Adam with decoupled weight decay.

    Args:
        tables: of weights, first and second moments.
        gradients: of the weights, each of its strides.
        rate: of learning, a scalar on the GPU.
        count: of this step, from one, a scalar on the GPU.
        betas: shares of the moments that stay.
        decay: of weights.
        eps: what is added to the root of the second moment.
    """
    flat = torch.cat([each.as_strided((each.numel(),), (1,)) for each in gradients])
    _adamw[(tables.programs,)](
        *(tables.parts, tables.places, flat, rate, count),
        *(betas[0], betas[1], math.log(betas[0]), math.log(betas[1]), decay, eps),
        *(len(tables.sizes),),
        lanes=LANES,
    )


def follow(tables: Together, share: Tensor) -> None:
    """Move averages by a share of their way to the weights.

    Args:
        tables: of averages and weights.
        share: a scalar on the GPU.
    """
    _follow[(tables.programs,)](tables.parts, tables.places, share, len(tables.sizes), lanes=LANES)


@triton.jit
def _part(pieces, places, count, lanes: tl.constexpr):
    """Tensor of a program, its numbers' places in it and in all, and which there are."""
    program = tl.program_id(0)
    tensor = tl.load(pieces + 2 * program)
    at = tl.load(pieces + 2 * program + 1) + tl.arange(0, lanes)
    inside = at < tl.load(places + tensor)
    return tensor, at, tl.load(places + count + tensor) + at, inside


@triton.jit
def _list(places, tensor, number, count):
    """Where a tensor of a list begins."""
    address = tl.load(places + (2 + number) * count + tensor)
    return address.to(tl.pointer_type(tl.float32))


@triton.jit
def _adamw(
    pieces, places, gradient, rate, step, beta1, beta2, log1, log2, decay, eps, tensors,
    lanes: tl.constexpr,
):  # fmt: skip
    tensor, at, place, inside = _part(pieces, places, tensors, lanes)
    weights = _list(places, tensor, 0, tensors) + at
    means = _list(places, tensor, 1, tensors) + at
    squares = _list(places, tensor, 2, tensors) + at
    speed, taken = tl.load(rate), tl.load(step)
    g = tl.load(gradient + place, mask=inside, other=0.0)
    m = tl.load(means, mask=inside, other=0.0)
    m += (1.0 - beta1) * (g - m)
    v = beta2 * tl.load(squares, mask=inside, other=0.0) + (1.0 - beta2) * g * g
    tl.store(means, m, mask=inside)
    tl.store(squares, v, mask=inside)
    root = tl.sqrt_rn(v / -expm1(taken * log2)) + eps
    w = tl.load(weights, mask=inside, other=0.0)
    w = w * (1.0 - speed * decay) - speed / -expm1(taken * log1) * m / root
    tl.store(weights, w, mask=inside)


@triton.jit
def _follow(pieces, places, share, tensors, lanes: tl.constexpr):
    tensor, at, _, inside = _part(pieces, places, tensors, lanes)
    averages = _list(places, tensor, 0, tensors) + at
    weights = _list(places, tensor, 1, tensors) + at
    average = tl.load(averages, mask=inside, other=0.0)
    way = tl.load(weights, mask=inside, other=0.0) - average
    tl.store(averages, average + way * tl.load(share), mask=inside)
