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

inline void put(Vec left, Vec right, float* to, int width, bool add) {
    const int one = std::min(width, V), two = width - one;
    if (width == P) {
        if (add) {
            left = left + Vec::loadu(to);
            right = right + Vec::loadu(to + V);
        }
        left.store(to);
        right.store(to + V);
        return;
    }
    if (add) left = left + Vec::loadu(to, one);
    left.store(to, one);
    if (two == 0) return;
    if (add) right = right + Vec::loadu(to + V, two);
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
                       int64_t am, int64_t ak, int64_t bk, int64_t bn) {
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
                                    N, width, at > 0);
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


def multiply(left: Tensor, right: Tensor, out: Tensor) -> None:
    """Write the product of ``[M, K]`` and ``[K, N]``, of any strides, to ``[M, N]``, contiguous.

    All are float32 on the CPU and not empty.
    """
    (rows, length), columns = left.shape, right.shape[1]
    _kernel()(left, right, out, rows, columns, length, *left.stride(), *right.stride())


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
    arguments = ["const float*", "const float*", "float*", *["int64_t"] * 7]
    built: Callable[..., None] = CppPythonBindingsCodeCache.load_pybinding(
        arguments, source.replace("@TILES@", _tiles(rows))
    )
    return built


def _tiles(most: int) -> str:
    """A function for each number of rows of a tile; sums that have names get registers."""
    arguments = (
        "const float* a, int64_t am, int64_t ak, const float* panel, int64_t depth, "
        "float* c, int64_t cm, int width, bool add"
    )
    functions = [
        f"void tile{rows}({arguments}) {{\n"
        + "".join(f"    Vec l{row}(0.f), r{row}(0.f);\n" for row in range(rows))
        + "    for (int64_t k = 0; k < depth; k++, a += ak, panel += P) {\n"
        + "        const Vec left = Vec::loadu(panel), right = Vec::loadu(panel + V);\n"
        + "".join(_row(row) for row in range(rows))
        + "    }\n"
        + "".join(f"    put(l{row}, r{row}, c + {row} * cm, width, add);\n" for row in range(rows))
        + "}\n"
        for rows in range(1, most + 1)
    ]
    names = ", ".join(f"tile{rows}" for rows in range(1, most + 1))
    return "".join(functions) + f"void (*const tiles[])({arguments}) = {{nullptr, {names}}};"


def _row(row: int) -> str:
    return (
        f"        {{ const Vec x(a[{row} * am]);"
        f" l{row} = at::vec::fmadd(x, left, l{row});"
        f" r{row} = at::vec::fmadd(x, right, r{row}); }}\n"
    )
