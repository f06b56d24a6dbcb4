"""Formulas and their gradients as one launch of a Triton kernel each. Needs triton and a GPU.

Numbers are those of the operations to rounding. All but single numbers are matrices, which may lie
in memory as they like.

Legend: B batch, F features, Z latent dimensions, N numbers of an example.
"""

# the language of a kernel is Triton's: its values have no types of Python
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator"

import torch
import triton
import triton.language as tl
from torch import Tensor

LANES = 256
"""Numbers of a program that takes each by itself."""
WIDE = 1024
"""Numbers of a row that a program adds up at once."""


def rate(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL of N(mean, exp(log_variance)) to N(0, 1), nats ``[B, Z]``."""
    out = torch.empty(mean.shape, dtype=mean.dtype, device=mean.device)
    _each(_rate, out, mean, log_variance)
    return out


def rate_backward(gradient: Tensor, mean: Tensor, log_variance: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of :func:`rate`, ``[B, Z]`` both."""
    outs = torch.empty(2, *mean.shape, dtype=mean.dtype, device=mean.device)
    _each(_rate_backward, outs[0], outs[1], gradient, mean, log_variance, results=2)
    return outs[0], outs[1]


def draw(mean: Tensor, log_variance: Tensor, noise: Tensor) -> Tensor:
    """``mean + exp(log_variance / 2) noise`` ``[B, Z]``."""
    out = torch.empty(mean.shape, dtype=mean.dtype, device=mean.device)
    _each(_draw, out, mean, log_variance, noise)
    return out


def draw_backward(gradient: Tensor, log_variance: Tensor, noise: Tensor) -> Tensor:
    """Gradient of :func:`draw` for the logarithm of the variance ``[B, Z]``."""
    out = torch.empty(noise.shape, dtype=log_variance.dtype, device=noise.device)
    _each(_draw_backward, out, gradient, log_variance, noise)
    return out


def held_backward(gradient: Tensor, value: Tensor, bound: float) -> Tensor:
    """The gradient ``[B, F]``, 0 where it drives a value further beyond a bound."""
    out = torch.empty(gradient.shape, dtype=gradient.dtype, device=gradient.device)
    _each(_held_backward, out, gradient, value, bound=bound)
    return out


def modulated(features: Tensor, found: Tensor) -> Tensor:
    """``h (1 + scale) + shift`` of h ``[B, F]``, by scales and shifts ``[B, 2 F]``."""
    dtype = torch.promote_types(features.dtype, found.dtype)
    out = torch.empty(features.shape, dtype=dtype, device=features.device)
    _each(_modulated, out, features, found)
    return out


def modulated_backward(gradient: Tensor, features: Tensor, found: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of :func:`modulated`, ``[B, F]`` and ``[B, 2 F]``."""
    of_features = torch.empty(features.shape, dtype=features.dtype, device=features.device)
    of_found = torch.empty(found.shape, dtype=found.dtype, device=found.device)
    _each(_modulated_backward, of_features, of_found, gradient, features, found, results=2)
    return of_features, of_found


def bernoulli(values: Tensor, logits: Tensor) -> Tensor:
    """Sum over N of x l - log(1 + exp(l)), nats ``[B]``, of x and l ``[B, N]``."""
    rows, numbers = logits.shape
    out = torch.empty(rows, dtype=torch.float32, device=logits.device)
    if rows:
        places = *values.stride(), *logits.stride()
        _bernoulli[(rows,)](out, values, logits, *places, numbers=numbers, lanes=WIDE)
    return out


def bernoulli_backward(gradient: Tensor, values: Tensor, logits: Tensor) -> Tensor:
    """Gradient of :func:`bernoulli` for the logits ``[B, N]``, of that of its result ``[B]``."""
    out = torch.empty(logits.shape, dtype=logits.dtype, device=logits.device)
    _each(_bernoulli_backward, out, gradient.unsqueeze(1), values, logits)
    return out


def _each(kernel, *tensors: Tensor, results: int = 1, **options: float) -> None:
    """A program for ``LANES`` numbers of the first result; results have no gaps."""
    out = tensors[0]
    steps = [step for tensor in tensors[results:] for step in tensor.stride()]
    if out.numel():
        programs = triton.cdiv(out.numel(), LANES)
        kernel[(programs,)](*tensors, *steps, *out.shape, *options.values(), lanes=LANES)


@triton.jit
def _place(rows, columns, lanes: tl.constexpr):
    """Numbers of a program, their rows and columns, and which of them there are."""
    at = tl.program_id(0).to(tl.int64) * lanes + tl.arange(0, lanes)
    return at, at // columns, at % columns, at // columns < rows


@triton.jit
def read(source, row, column, row_step, column_step, inside):
    """Numbers of a matrix in float32, 0 where there are none."""
    at = source + row * row_step + column * column_step
    return tl.load(at, mask=inside, other=0.0).to(tl.float32)


@triton.jit
def expm1(x):
    """By its series near zero, where a difference would have lost its digits."""
    near = x * (1 + x / 2 * (1 + x / 3 * (1 + x / 4 * (1 + x / 5 * (1 + x / 6)))))
    return tl.where(tl.abs(x) < 0.2, near, tl.exp(x) - 1)


@triton.jit
def _rate(out, mean, spread, m0, m1, s0, s1, rows, columns, lanes: tl.constexpr):
    at, row, column, inside = _place(rows, columns, lanes)
    m = read(mean, row, column, m0, m1, inside)
    s = read(spread, row, column, s0, s1, inside)
    tl.store(out + at, 0.5 * (expm1(s) - s + m * m), mask=inside)


@triton.jit
def _rate_backward(
    of_mean, of_spread, gradient, mean, spread, g0, g1, m0, m1, s0, s1, rows, columns,
    lanes: tl.constexpr,
):  # fmt: skip
    at, row, column, inside = _place(rows, columns, lanes)
    g = read(gradient, row, column, g0, g1, inside)
    tl.store(of_mean + at, g * read(mean, row, column, m0, m1, inside), mask=inside)
    s = read(spread, row, column, s0, s1, inside)
    tl.store(of_spread + at, 0.5 * g * expm1(s), mask=inside)


@triton.jit
def _draw(
    out, mean, spread, noise, m0, m1, s0, s1, n0, n1, rows, columns, lanes: tl.constexpr
):  # fmt: skip
    at, row, column, inside = _place(rows, columns, lanes)
    m = read(mean, row, column, m0, m1, inside)
    s = read(spread, row, column, s0, s1, inside)
    n = read(noise, row, column, n0, n1, inside)
    tl.store(out + at, m + tl.exp(0.5 * s) * n, mask=inside)


@triton.jit
def _draw_backward(
    out, gradient, spread, noise, g0, g1, s0, s1, n0, n1, rows, columns, lanes: tl.constexpr
):  # fmt: skip
    at, row, column, inside = _place(rows, columns, lanes)
    g = read(gradient, row, column, g0, g1, inside)
    s = read(spread, row, column, s0, s1, inside)
    n = read(noise, row, column, n0, n1, inside)
    tl.store(out + at, g * n * (0.5 * tl.exp(0.5 * s)), mask=inside)


@triton.jit
def kept(gradient, value, bound):
    """A gradient, 0 where a step against it would go further beyond a bound."""
    excess = value - tl.minimum(tl.maximum(value, -bound), bound)
    return tl.where(excess * gradient < 0, 0.0, gradient)


@triton.jit
def _held_backward(
    out, gradient, value, g0, g1, v0, v1, rows, columns, bound, lanes: tl.constexpr
):  # fmt: skip
    at, row, column, inside = _place(rows, columns, lanes)
    g = read(gradient, row, column, g0, g1, inside)
    tl.store(out + at, kept(g, read(value, row, column, v0, v1, inside), bound), mask=inside)


@triton.jit
def _modulated(out, features, found, h0, h1, f0, f1, rows, columns, lanes: tl.constexpr):
    at, row, column, inside = _place(rows, columns, lanes)
    h = read(features, row, column, h0, h1, inside)
    scale = read(found, row, column, f0, f1, inside)
    shift = read(found, row, column + columns, f0, f1, inside)
    tl.store(out + at, h + shift + h * scale, mask=inside)


@triton.jit
def _modulated_backward(
    of_features, of_found, gradient, features, found, g0, g1, h0, h1, f0, f1, rows, columns,
    lanes: tl.constexpr,
):  # fmt: skip
    at, row, column, inside = _place(rows, columns, lanes)
    g = read(gradient, row, column, g0, g1, inside)
    h = read(features, row, column, h0, h1, inside)
    tl.store(of_features + at, g + g * read(found, row, column, f0, f1, inside), mask=inside)
    of_scale = of_found + row * 2 * columns + column
    tl.store(of_scale, g * h, mask=inside)
    tl.store(of_scale + columns, g, mask=inside)


@triton.jit
def _bernoulli(
    out, values, logits, x0, x1, l0, l1, numbers: tl.constexpr, lanes: tl.constexpr
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    total = tl.full([lanes], 0.0, tl.float32)
    for start in range(0, numbers, lanes):
        column = start + tl.arange(0, lanes)
        inside = column < numbers
        x = read(values, row, column, x0, x1, inside)
        l = read(logits, row, column, l0, l1, inside)  # noqa: E741
        below = tl.minimum(l, 0.0) - tl.log(1.0 + tl.exp(-tl.abs(l)))
        total += tl.where(inside, below + l * (x - 1.0), 0.0)
    tl.store(out + row, tl.sum(total, 0))


@triton.jit
def _bernoulli_backward(
    out, gradient, values, logits, g0, g1, x0, x1, l0, l1, rows, columns, lanes: tl.constexpr
):  # fmt: skip
    at, row, column, inside = _place(rows, columns, lanes)
    g = tl.load(gradient + row * g0, mask=inside, other=0.0).to(tl.float32)
    x = read(values, row, column, x0, x1, inside)
    l = read(logits, row, column, l0, l1, inside)  # noqa: E741
    tl.store(out + at, g * (x - 1.0 / (1.0 + tl.exp(-l))), mask=inside)
