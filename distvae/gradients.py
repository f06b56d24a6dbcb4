"""Formulas with gradients in closed form, for which autograd would launch many small kernels.

A compiler fuses what autograd makes, and does not see a gradient of one's own: it is given the
plain formula. On a GPU each formula and each gradient is one launch of a kernel.

Legend: B batch, F features, Z latent dimensions.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from distvae.kernels import launched


def _plain() -> bool:
    """Whether the formula is to be left to a compiler."""
    return torch.compiler.is_compiling() and torch.is_grad_enabled()


def modulated(features: Tensor, found: Tensor) -> Tensor:
    """``h (1 + scale) + shift`` in the shape of ``features [B, F, ...]``.

    Args:
        features: h.
        found: scales, then shifts ``[B, 2 F]``.
    """
    if features.dim() > 2:
        found = found[(..., *[None] * (features.dim() - 2))]
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


def drawn_normal(mean: Tensor, log_variance: Tensor, noise: Tensor) -> Tensor:
    """``mean + exp(log_variance / 2) noise`` in the shape of all three."""
    if launched(mean, log_variance, noise) and noise.dim() == 2 and mean.shape == noise.shape:
        z: Tensor = _DrawnNormal.apply(mean, log_variance, noise)  # type: ignore[no-untyped-call]
        return z
    return torch.addcmul(mean, torch.exp(0.5 * log_variance), noise)


def held(value: Tensor, bound: float) -> Tensor:
    """Values between ``-bound`` and ``bound``; the gradient still moves those outside back, not on.

    For a learned logarithm of a scale, which a likelihood of what never varies would press towards
    minus infinity, or a learned slope. What lies between, and its gradient, are as they were. A
    compiler does not see a gradient of one's own: there it passes outside in both directions.
    """
    if _plain():
        return value - (value - value.clamp(-bound, bound)).detach()
    within: Tensor = _Held.apply(value, bound)  # type: ignore[no-untyped-call]
    return within


def bernoulli_log_prob(values: Tensor, logits: Tensor) -> Tensor:
    """Sum over all but B of x l - log(1 + exp(l)), nats ``[B]``, of x and l ``[B, ...]``."""
    if _plain() and logits.device.type == "cpu" and not values.requires_grad:
        return _bernoulli_by_sums(values, logits).flatten(1).sum(1)
    if _plain() or values.requires_grad:
        return torch.addcmul(F.logsigmoid(logits), logits, values - 1.0).flatten(1).sum(1)
    nats: Tensor = _BernoulliLogProb.apply(values, logits)  # type: ignore[no-untyped-call]
    return nats


LOG1P = (
    0.99999994,
    -0.49999493,
    0.33319098,
    -0.24842982,
    0.19106005,
    -0.13663243,
    0.07822591,
    -0.029505214,
    0.005232688,
)
"""Of e^0 and on: log(1 + e) / e for e in [0, 1], to 2e-7 of it in float32."""


def _bernoulli_by_sums(values: Tensor, logits: Tensor) -> Tensor:
    """The terms x l - log(1 + exp(l)) in the shape of both, for the compiler of a CPU.

    It calls a library for log1p, which takes longer than all the rest, and makes more of the
    gradient than the difference that it is. So that is given as the slope of a sum that is zero.
    """
    held = logits.detach()
    small = torch.exp(-held.abs())
    series = torch.full_like(small, LOG1P[-1])
    for factor in LOG1P[-2::-1]:
        series = series * small + factor
    nats = held.clamp(max=0.0) - series * small + held * (values - 1.0)
    mean = torch.where(held < 0.0, small, 1.0) / (1.0 + small)
    return nats + (values - mean) * (logits - held)


def _launched(*tensors: Tensor) -> bool:
    """Whether these matrices are given to kernels: not in a gradient that has one itself."""
    flat = tensors[0].dim() == 2
    return flat and launched(*tensors) and not torch.is_grad_enabled()


class _Modulated(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, found: Tensor) -> Tensor:
        ctx.save_for_backward(features, found)
        if _launched(features, found):
            from distvae.kernels import formulas

            return formulas.modulated(features, found)
        scale, shift = found.chunk(2, dim=1)
        return torch.addcmul(features + shift, features, scale)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        features, found = ctx.saved_tensors
        if _launched(gradient, features, found):
            from distvae.kernels import formulas

            return formulas.modulated_backward(gradient, features, found)
        of_both = [gradient * features, gradient]
        if gradient.dim() > 2:
            sides = tuple(range(2, gradient.dim()))
            of_both = [one.sum(sides, keepdim=True) for one in of_both]
        scale, _ = found.chunk(2, dim=1)
        return torch.addcmul(gradient, gradient, scale), torch.cat(of_both, dim=1)


class _RateOfStandardNormal(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, mean: Tensor, log_variance: Tensor) -> Tensor:
        ctx.save_for_backward(mean, log_variance)
        ctx.growth = None
        if _launched(mean, log_variance):
            from distvae.kernels import formulas

            return formulas.rate(mean, log_variance)
        ctx.growth = growth = torch.expm1(log_variance)
        return torch.addcmul(growth - log_variance, mean, mean).mul_(0.5)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_variance = ctx.saved_tensors
        if ctx.growth is None and _launched(gradient, mean, log_variance):
            from distvae.kernels import formulas

            return formulas.rate_backward(gradient, mean, log_variance)
        # anew where this gradient is to have one itself
        again = torch.is_grad_enabled() or ctx.growth is None
        growth = torch.expm1(log_variance) if again else ctx.growth
        return gradient * mean, (gradient * growth).mul_(0.5)


class _BernoulliLogProb(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, logits: Tensor) -> Tensor:
        ctx.save_for_backward(values, logits)
        if launched(values, logits):
            from distvae.kernels import formulas

            return formulas.bernoulli(values.flatten(1), logits.flatten(1))
        return torch.addcmul(F.logsigmoid(logits), logits, values - 1.0).flatten(1).sum(1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor]:
        values, logits = ctx.saved_tensors
        if launched(gradient, values, logits) and not torch.is_grad_enabled():
            from distvae.kernels import formulas

            flat = values.flatten(1), logits.flatten(1)
            return None, formulas.bernoulli_backward(gradient, *flat).view_as(logits)
        share = gradient.view(-1, *[1] * (logits.dim() - 1))
        return None, (values - torch.sigmoid(logits)).mul_(share)


class _DrawnNormal(torch.autograd.Function):
    """On a GPU alone; elsewhere autograd's own is as fast."""

    @staticmethod
    def forward(ctx: Any, mean: Tensor, log_variance: Tensor, noise: Tensor) -> Tensor:
        from distvae.kernels import formulas

        ctx.save_for_backward(log_variance, noise)
        return formulas.draw(mean, log_variance, noise)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        log_variance, noise = ctx.saved_tensors
        if _launched(gradient, log_variance, noise):
            from distvae.kernels import formulas

            return gradient, formulas.draw_backward(gradient, log_variance, noise), None
        return gradient, gradient * noise * (0.5 * torch.exp(0.5 * log_variance)), None


class _Held(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, bound: float) -> Tensor:
        within = value.clamp(-bound, bound)
        ctx.bound, ctx.whole = bound, _launched(value)
        ctx.save_for_backward(value if ctx.whole else value - within)
        return within

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (excess,) = ctx.saved_tensors
        if ctx.whole:
            if _launched(gradient, excess):
                from distvae.kernels import formulas

                return formulas.held_backward(gradient, excess, ctx.bound), None
            excess = excess - excess.clamp(-ctx.bound, ctx.bound)
        # a step goes against the gradient, so it would grow
        return gradient.masked_fill(excess * gradient < 0, 0.0), None
