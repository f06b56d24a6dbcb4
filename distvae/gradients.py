"""Formulas with gradients in closed form, for which autograd would launch many small kernels.

A compiler fuses what autograd makes, and does not see a gradient of one's own: it is given the
plain formula.

Legend: B batch, F features.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def _plain() -> bool:
    """Whether the formula is to be left to a compiler."""
    return torch.compiler.is_compiling() and torch.is_grad_enabled()


def modulated(features: Tensor, found: Tensor) -> Tensor:
    """``h (1 + scale) + shift`` in the shape of ``features [B, F, ...]``.

    Args:
        features: h.
        found: scales, then shifts ``[B, 2 F]``.
    """
    if features.dim() == 4:
        found = found[:, :, None, None]
    if _plain():
        scale, shift = found.chunk(2, dim=1)
        return torch.addcmul(features + shift, features, scale)
    result: Tensor = _Modulated.apply(features, found)  # type: ignore[no-untyped-call]
    return result


def rate_of_standard_normal(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL of N(mean, exp(log_variance)) to N(0, 1), nats in the shape of both."""
    if _plain():
        excess = torch.expm1(log_variance) - log_variance
        return 0.5 * torch.addcmul(excess, mean, mean)
    rate: Tensor = _RateOfStandardNormal.apply(mean, log_variance)  # type: ignore[no-untyped-call]
    return rate


def bernoulli_log_prob(values: Tensor, logits: Tensor) -> Tensor:
    """Sum over all but B of x l - log(1 + exp(l)), nats ``[B]``, of x and l ``[B, ...]``."""
    if _plain() or values.requires_grad:
        return torch.addcmul(F.logsigmoid(logits), logits, values - 1.0).flatten(1).sum(1)
    nats: Tensor = _BernoulliLogProb.apply(values, logits)  # type: ignore[no-untyped-call]
    return nats


class _Modulated(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, found: Tensor) -> Tensor:
        ctx.save_for_backward(features, found)
        scale, shift = found.chunk(2, dim=1)
        return torch.addcmul(features + shift, features, scale)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        features, found = ctx.saved_tensors
        of_both = [gradient * features, gradient]
        if gradient.dim() == 4:
            of_both = [one.sum((2, 3), keepdim=True) for one in of_both]
        scale, _ = found.chunk(2, dim=1)
        return torch.addcmul(gradient, gradient, scale), torch.cat(of_both, dim=1)


class _RateOfStandardNormal(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, mean: Tensor, log_variance: Tensor) -> Tensor:
        growth = torch.expm1(log_variance)
        ctx.save_for_backward(mean, log_variance)
        ctx.growth = growth
        return torch.addcmul(growth - log_variance, mean, mean).mul_(0.5)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_variance = ctx.saved_tensors
        # anew where this gradient is to have one itself
        growth = torch.expm1(log_variance) if torch.is_grad_enabled() else ctx.growth
        return gradient * mean, (gradient * growth).mul_(0.5)


class _BernoulliLogProb(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, logits: Tensor) -> Tensor:
        ctx.save_for_backward(values, logits)
        return torch.addcmul(F.logsigmoid(logits), logits, values - 1.0).flatten(1).sum(1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor]:
        values, logits = ctx.saved_tensors
        share = gradient.view(-1, *[1] * (logits.dim() - 1))
        return None, (values - torch.sigmoid(logits)).mul_(share)
