"""Products of float32 matrices on a CPU by code of one's own, compiled for its processor.

A library spends some microseconds on each product before it begins, as long as a small layer takes,
and knows some processors better than others. This is the usual scheme (Goto and van de Geijn 2008,
doi:10.1145/1356052.1356053): columns of the right matrix are packed, tiles of the result stay in
registers. Each number is summed in one order, whatever the number of threads.

Legend: M, N, K rows, columns and length of a product.
"""

import functools
import hashlib
from array import array
from typing import Any

import torch
from torch import Tensor

from distvae.platform import EXACT
from distvae.training.native import NotBuilt, module
from distvae.training.sequence import NativeCall

SOURCE = r"""
#include <Python.h>
#include <algorithm>
#include <cstdint>
#include <omp.h>
#include <utility>

namespace {
// Numbers of a vector, and rows of a tile, two vectors wide: as many as registers hold.
#if defined(__AVX512F__)
constexpr int V = 16, R = 14;
#elif defined(__AVX2__) && defined(__FMA__)
constexpr int V = 8, R = 6;
#else
#error "a processor without vectors that this was written for"
#endif
constexpr int P = 2 * V;
constexpr int64_t DEPTH = 512;
// Multiplications that one thread does before others are awake.
constexpr int64_t FEW = 100000;
typedef float Vec __attribute__((vector_size(4 * V)));
typedef float Loose __attribute__((vector_size(4 * V), aligned(4), may_alias));
typedef int Lanes __attribute__((vector_size(4 * V)));

inline Vec get(const float* from) { return *reinterpret_cast<const Loose*>(from); }
inline void set(Vec vec, float* to) { *reinterpret_cast<Loose*>(to) = vec; }

// A vector and, where there is more, what is added to it.
inline void put_all(Vec vec, const float* more, float* to) {
    set(more ? vec + get(more) : vec, to);
}

__attribute__((noinline)) void put_some(Vec vec, const float* more, float* to, int width) {
    for (int n = 0; n < width; n++) to[n] = more ? vec[n] + more[n] : vec[n];
}

inline void put(Vec left, Vec right, const float* more, float* to, int width) {
    if (width == P) {
        put_all(left, more, to);
        put_all(right, more ? more + V : nullptr, to + V);
    } else {
        put_some(left, more, to, std::min(width, V));
        if (width > V) put_some(right, more ? more + V : nullptr, to + V, width - V);
    }
}

// One of two rows of a square, whose blocks of W columns beside the diagonal are swapped.
template <int W, bool SECOND, int... I>
inline Vec swapped(Vec a, Vec b, std::integer_sequence<int, I...>) {
#ifdef __clang__
    return __builtin_shufflevector(a, b, (I & W ? V + I - !SECOND * W : I + SECOND * W)...);
#else
    return __builtin_shuffle(a, b, Lanes{(I & W ? V + I - !SECOND * W : I + SECOND * W)...});
#endif
}

template <int W, int... I>
inline void transpose(Vec* rows, std::integer_sequence<int, I...> lanes) {
    auto swap = [&](auto at) {
        constexpr int i = decltype(at)::value;
        if constexpr (!(i & W)) {
            const Vec a = rows[i], b = rows[i + W];
            rows[i] = swapped<W, false>(a, b, lanes);
            rows[i + W] = swapped<W, true>(a, b, lanes);
        }
    };
    (swap(std::integral_constant<int, I>{}), ...);
    if constexpr (W > 1) transpose<W / 2>(rows, lanes);
}

// V columns of b [V, ...] to the columns of a panel.
template <int... I>
inline void turn(std::integer_sequence<int, I...> lanes, const float* b, int64_t bn, float* panel) {
    Vec rows[V] = {get(b + I * bn)...};
    transpose<V / 2>(rows, lanes);
    (set(rows[I], panel + I * P), ...);
}

// Rows of a [M, depth] times panel [depth, P], added to c or to the bias.
template <int... I>
inline void tile(std::integer_sequence<int, I...>, const float* a, int64_t am, int64_t ak,
                 const float* panel, int64_t depth, float* c, int64_t cm, int width, bool add,
                 const float* bias) {
    Vec l[sizeof...(I)] = {}, r[sizeof...(I)] = {};
    for (int64_t k = 0; k < depth; k++, a += ak, panel += P) {
        const Vec left = get(panel), right = get(panel + V);
        ((l[I] += a[I * am] * left, r[I] += a[I * am] * right), ...);
    }
    (put(l[I], r[I], add ? c + I * cm : bias, c + I * cm, width), ...);
}

template <int N>
void rows(const float* a, int64_t am, int64_t ak, const float* panel, int64_t depth, float* c,
          int64_t cm, int width, bool add, const float* bias) {
    tile(std::make_integer_sequence<int, N>{}, a, am, ak, panel, depth, c, cm, width, add, bias);
}

template <typename T>
struct Tiles;

template <int... I>
struct Tiles<std::integer_sequence<int, I...>> {
    static constexpr decltype(&rows<1>) of[] = {rows<I + 1>...};
};

// Columns of b [depth, width] to panel [depth, P], the rest zero.
void pack(const float* b, int64_t bk, int64_t bn, int64_t depth, int width, float* panel) {
    if (width < P) {
        std::fill(panel, panel + depth * P, 0.f);
        for (int n = 0; n < width; n++)
            for (int64_t k = 0; k < depth; k++) panel[k * P + n] = b[k * bk + n * bn];
    } else if (bn == 1) {
        for (int64_t k = 0; k < depth; k++) {
            set(get(b + k * bk), panel + k * P);
            set(get(b + k * bk + V), panel + k * P + V);
        }
    } else {
        constexpr std::make_integer_sequence<int, V> lanes{};
        int64_t k = 0;
        if (bk == 1)
            for (; k + V <= depth; k += V)
                for (int n = 0; n < P; n += V)
                    turn(lanes, b + n * bn + k, bn, panel + k * P + n);
        for (; k < depth; k++)
            for (int n = 0; n < P; n++) panel[k * P + n] = b[k * bk + n * bn];
    }
}

void multiply(const float* a, const float* b, float* c, const float* bias, int64_t M, int64_t N,
              int64_t K, int64_t am, int64_t ak, int64_t bk, int64_t bn) {
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
                Tiles<std::make_integer_sequence<int, R>>::of[bottom - top - 1](
                    a + top * am + at * ak, am, ak, panel, depth, c + top * N + n, N, width, at > 0,
                    bias ? bias + n : nullptr);
            }
        }
    };
    if (M * N * K <= FEW) return some(0, all);
    #pragma omp parallel
    {
        const int64_t thread = omp_get_thread_num(), threads = omp_get_num_threads();
        some(thread * all / threads, (thread + 1) * all / threads);
    }
}

// The same with its numbers one after the other.
void product(const int64_t* v) {
    multiply(reinterpret_cast<const float*>(v[0]), reinterpret_cast<const float*>(v[1]),
             reinterpret_cast<float*>(v[2]), reinterpret_cast<const float*>(v[3]), v[4], v[5], v[6],
             v[7], v[8], v[9], v[10]);
}

PyObject* called(PyObject*, PyObject* const* given, Py_ssize_t count) {
    int64_t v[11];
    if (count != 11) return PyErr_Format(PyExc_TypeError, "11 numbers, not %zd", count);
    for (int i = 0; i < 11; i++) v[i] = PyLong_AsLongLong(given[i]);
    if (PyErr_Occurred()) return nullptr;
    product(v);
    Py_RETURN_NONE;
}

PyMethodDef methods[] = {
    {"multiply", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(called)), METH_FASTCALL,
     nullptr},
    {nullptr, nullptr, 0, nullptr}};
PyModuleDef module = {PyModuleDef_HEAD_INIT, "kernel", nullptr, -1, methods, nullptr, nullptr,
                      nullptr, nullptr};
}  // namespace

PyMODINIT_FUNC PyInit_kernel() {
    PyObject* made = PyModule_Create(&module);
    PyObject* address = PyLong_FromVoidPtr(reinterpret_cast<void*>(product));
    if (made && PyModule_AddObject(made, "address", address) < 0) Py_CLEAR(made);
    return made;
}
"""


def multiply(left: Tensor, right: Tensor, out: Tensor, bias: Tensor | None = None) -> None:
    """Write the product of ``[M, K]`` and ``[K, N]``, of any strides, to ``[M, N]``, contiguous.

    A bias ``[N]``, contiguous, is added to each row. All are float32 on the CPU and not empty.
    """
    _native().multiply(*_numbers(left, right, out, bias))


def call(left: Tensor, right: Tensor, out: Tensor, bias: Tensor | None = None) -> NativeCall:
    """The same, to be called with tensors that stay where they are."""
    numbers = array("q", _numbers(left, right, out, bias))
    held = numbers, left, right, out, bias
    return NativeCall(_native().address, (numbers.buffer_info()[0],), held)


def _numbers(left: Tensor, right: Tensor, out: Tensor, bias: Tensor | None) -> tuple[int, ...]:
    (rows, length), columns = left.shape, right.shape[1]
    addresses = left.data_ptr(), right.data_ptr(), out.data_ptr()
    offsets = 0 if bias is None else bias.data_ptr()
    return *addresses, offsets, rows, columns, length, *left.stride(), *right.stride()


def version() -> str:
    """Of the code."""
    return hashlib.sha256(SOURCE.encode()).hexdigest()[:16]


def works() -> bool:
    """Whether there is such code for this processor, and it is exact."""
    return failure() is None


@functools.cache
def failure() -> NotBuilt | None:
    """Why there is none; looked for once."""
    try:
        errors = [_error(left, right) for left in (False, True) for right in (False, True)]
    except NotBuilt as error:
        return error
    return None if max(errors) <= EXACT else NotBuilt("what it computes is not exact")


def _error(left_transposed: bool, right_transposed: bool) -> float:
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randn(*size, generator=generator) for size in ((61, 600), (600, 75)))
    exact, found = left.double() @ right.double(), torch.empty(61, 75)
    left = left.t().contiguous().t() if left_transposed else left
    right = right.t().contiguous().t() if right_transposed else right
    multiply(left, right, found)
    return float((found.double() - exact).abs().max() / exact.abs().max())


@functools.cache
def _native() -> Any:
    return module("kernel", SOURCE)
