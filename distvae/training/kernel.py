"""Products of float32 matrices on a CPU by code of one's own, compiled for its processor.

A library spends some microseconds on each product before it begins, as long as a small layer takes,
and knows some processors better than others. This is the usual scheme (Goto and van de Geijn 2008,
doi:10.1145/1356052.1356053): columns of the right matrix are packed, tiles of the result stay in
registers. Each number is summed in one order, whatever the number of threads.

Legend: M, N, K rows, columns and length of a product.
"""

import functools
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from distvae.platform import EXACT

ROWS = {512: 14, 256: 6}
"""Rows of a tile, two vectors wide, by the bits of a vector: as many as registers hold."""
FEW = 100_000
"""Multiplications that one thread does before others are awake."""
_SOURCE = r"""
#include <ATen/cpu/vec/vec.h>
#include <algorithm>
#include <cstdint>
#include <omp.h>

namespace {
using Vec = at::vec::Vectorized<float>;
constexpr int V = Vec::size(), P = 2 * V, R = @ROWS@;
constexpr int64_t DEPTH = 512;

// Numbers of a row and, where there are some, those that are added to them.
inline void put(Vec left, Vec right, const float* more, float* to, int width) {
    const int one = std::min(width, V), two = width - one;
    if (width == P) {
        if (more) {
            left = left + Vec::loadu(more);
            right = right + Vec::loadu(more + V);
        }
        left.store(to);
        right.store(to + V);
        return;
    }
    if (more) left = left + Vec::loadu(more, one);
    left.store(to, one);
    if (two == 0) return;
    if (more) right = right + Vec::loadu(more + V, two);
    right.store(to + V, two);
}

@TILES@

// Columns of b [depth, width] to panel [depth, P], the rest zero.
void pack(const float* b, int64_t bk, int64_t bn, int64_t depth, int width, float* panel) {
    if (width < P) {
        std::fill(panel, panel + depth * P, 0.f);
        for (int n = 0; n < width; n++)
            for (int64_t k = 0; k < depth; k++) panel[k * P + n] = b[k * bk + n * bn];
    } else if (bn == 1) {
        for (int64_t k = 0; k < depth; k++) {
            Vec::loadu(b + k * bk).store(panel + k * P);
            Vec::loadu(b + k * bk + V).store(panel + k * P + V);
        }
    } else {
        int64_t k = 0;
        if (bk == 1)
            for (; k + V <= depth; k += V)
                for (int n = 0; n < P; n += V)
                    at::vec::transpose_mxn<float, V, V>(b + n * bn + k, bn, panel + k * P + n, P);
        for (; k < depth; k++)
            for (int n = 0; n < P; n++) panel[k * P + n] = b[k * bk + n * bn];
    }
}
}  // namespace

extern "C" void kernel(const float* a, const float* b, float* c, int64_t M, int64_t N, int64_t K,
                       int64_t am, int64_t ak, int64_t bk, int64_t bn, int64_t address) {
    const float* bias = reinterpret_cast<const float*>(address);
    const int64_t down = (M + R - 1) / R, across = (N + P - 1) / P, all = down * across;
    auto some = [=](int64_t first, int64_t end) {
        alignas(64) float panel[DEPTH * P];
        for (int64_t at = 0; at < K; at += DEPTH) {
            const int64_t depth = std::min(DEPTH, K - at);
            for (int64_t i = first; i < end; i++) {
                const int64_t n = i / down * P, m = i % down;
                const int64_t top = m * M / down, bottom = (m + 1) * M / down;
                const int width = std::min<int64_t>(P, N - n);
                if (i == first || m == 0) pack(b + at * bk + n * bn, bk, bn, depth, width, panel);
                tiles[bottom - top](a + top * am + at * ak, am, ak, panel, depth, c + top * N + n,
                                    N, width, at > 0, bias ? bias + n : nullptr);
            }
        }
    };
    if (M * N * K <= @FEW@) return some(0, all);
    #pragma omp parallel
    {
        const int64_t thread = omp_get_thread_num(), threads = omp_get_num_threads();
        some(thread * all / threads, (thread + 1) * all / threads);
    }
}
"""


def multiply(left: Tensor, right: Tensor, out: Tensor, bias: Tensor | None = None) -> None:
    """Write the product of ``[M, K]`` and ``[K, N]``, of any strides, to ``[M, N]``, contiguous.

    A bias ``[N]``, contiguous, is added to each row. All are float32 on the CPU and not empty.
    """
    _kernel()(*_arguments(left, right, out, bias))


def bound(
    left: Tensor, right: Tensor, out: Tensor, bias: Tensor | None = None
) -> Callable[[], None]:
    """What does the same again and again with tensors that stay where they are."""
    call = functools.partial(_kernel(), *_arguments(left, right, out, bias))
    vars(call)["bias"] = bias  # of which the kernel has no more than the address
    return call


def _arguments(left: Tensor, right: Tensor, out: Tensor, bias: Tensor | None) -> tuple[Any, ...]:
    (rows, length), columns = left.shape, right.shape[1]
    address = 0 if bias is None else bias.data_ptr()
    return left, right, out, rows, columns, length, *left.stride(), *right.stride(), address


def version() -> str:
    """Of the code."""
    return hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:16]


@functools.cache
def works() -> bool:
    """Whether there is such code for this processor and torch, and it is exact."""
    try:
        errors = [_error(left, right) for left in (False, True) for right in (False, True)]
    except (ImportError, AttributeError, TypeError, KeyError, RuntimeError):
        return False
    return max(errors) <= EXACT


def _error(left_transposed: bool, right_transposed: bool) -> float:
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randn(*size, generator=generator) for size in ((61, 600), (600, 75)))
    exact, found = left.double() @ right.double(), torch.empty(61, 75)
    left = left.t().contiguous().t() if left_transposed else left
    right = right.t().contiguous().t() if right_transposed else right
    multiply(left, right, found)
    return float((found.double() - exact).abs().max() / exact.abs().max())


@functools.cache
def _kernel() -> Callable[..., None]:
    from torch._inductor.codecache import CppPythonBindingsCodeCache
    from torch._inductor.cpu_vec_isa import pick_vec_isa

    rows = ROWS[pick_vec_isa().bit_width()]
    source = _SOURCE.replace("@ROWS@", str(rows)).replace("@FEW@", str(FEW))
    arguments = ["const float*", "const float*", "float*", *["int64_t"] * 8]
    built: Callable[..., None] = CppPythonBindingsCodeCache.load_pybinding(
        arguments, source.replace("@TILES@", _tiles(rows))
    )
    return built


def _tiles(most: int) -> str:
    """A function for each number of rows of a tile; sums that have names get registers."""
    arguments = (
        "const float* a, int64_t am, int64_t ak, const float* panel, int64_t depth, "
        "float* c, int64_t cm, int width, bool add, const float* bias"
    )
    functions = [
        f"void tile{rows}({arguments}) {{\n"
        + "".join(f"    Vec l{row}(0.f), r{row}(0.f);\n" for row in range(rows))
        + "    for (int64_t k = 0; k < depth; k++, a += ak, panel += P) {\n"
        + "        const Vec left = Vec::loadu(panel), right = Vec::loadu(panel + V);\n"
        + "".join(_row(row) for row in range(rows))
        + "    }\n"
        + "".join(_put(row) for row in range(rows))
        + "}\n"
        for rows in range(1, most + 1)
    ]
    names = ", ".join(f"tile{rows}" for rows in range(1, most + 1))
    return "".join(functions) + f"void (*const tiles[])({arguments}) = {{nullptr, {names}}};"


def _put(row: int) -> str:
    to = f"c + {row} * cm"
    return f"    put(l{row}, r{row}, add ? {to} : bias, {to}, width);\n"


def _row(row: int) -> str:
    return (
        f"        {{ const Vec x(a[{row} * am]);"
        f" l{row} = at::vec::fmadd(x, left, l{row});"
        f" r{row} = at::vec::fmadd(x, right, r{row}); }}\n"
    )
