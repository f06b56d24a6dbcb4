"""Steps that are left out because their gradient is far longer than usual.

A ladder now and then meets a batch whose gradient is thousands of times as long as others, and one
step along it can undo many. A fixed bound leaves out every step once gradients have grown beyond
it; here the bound follows them, and no more than ``MOST`` steps in a row are left out.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from distvae.objectives import Loss

MOST = 10
"""Steps in a row that are left out. The next is taken, and what is usual is measured anew."""
SKIPPED = "skipped"
"""Name of the figure that is the share of steps that were left out."""
FOLLOWS = 0.02
"""Share of the way to the length of a gradient that the usual length goes, in logarithms."""


class GradientGuard(nn.Module):
    """Tells by the length of a gradient whether its step is left out.

    What it knows lies on the device and nothing is read back. It is a function of the gradients of
    the whole batch, so all processes tell the same; it is part of a checkpoint.

    Args:
        factor: how many times the usual length is too long.
        device: of the gradients.
    """

    usual: Tensor
    """Logarithm of the length that is usual, []; infinite before the first step."""
    row: Tensor
    """Steps that were left out in a row, []."""

    def __init__(self, factor: float, device: torch.device) -> None:
        super().__init__()
        self.margin = math.log(factor)
        self.register_buffer("usual", torch.full((), math.inf, device=device))
        self.register_buffer("row", torch.zeros((), device=device))

    @torch.no_grad()
    def verdict(self, gradients: Sequence[Tensor]) -> Tensor:
        """1 where the step is left out, else 0; float32 []."""
        if torch.compiler.is_compiling():  # which would leave the norms to a library
            squares = torch.stack([gradient.square().sum() for gradient in gradients])
            length = squares.sum().sqrt().float().log()
        else:
            norms = torch.stack(torch._foreach_norm(list(gradients)))
            length = torch.linalg.vector_norm(norms).float().log()
        # a length that is no number is too long
        far = (length <= self.usual + self.margin).logical_not()
        known = self.usual.isfinite()
        skipped = far & known & (self.row < MOST)
        followed = torch.where(far | ~known, length, torch.lerp(self.usual, length, FOLLOWS))
        taken = torch.where(length.isfinite(), followed, self.usual)
        self.usual.copy_(torch.where(skipped, self.usual, taken))
        self.row.copy_(torch.where(skipped, self.row + 1.0, 0.0))
        verdict: Tensor = skipped.float()
        return verdict


def verdict_of(guard: nn.Module, gradients: Iterable[Tensor | None]) -> Tensor:
    """1 where the step of a turn is left out, by the gradients of its players together, else 0."""
    assert isinstance(guard, GradientGuard)
    return guard.verdict([gradient for gradient in gradients if gradient is not None])


def marked(loss: Loss, left_out: Tensor) -> Loss:
    """A loss that tells whether its step was left out."""
    return replace(loss, extras={**loss.extras, SKIPPED: left_out})
