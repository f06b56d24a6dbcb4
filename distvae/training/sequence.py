"""Functions of C that are called one after the other, on memory that stays where it is.

A step of a small network calls some thirty of them. Between two calls Python takes as long as the
shortest of them does.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from distvae.training.native import module

MOST = 2048
"""Arguments of one function: a kernel that updates all weights takes some for each."""
SOURCE = r"""
#include <Python.h>
#include <utility>
#include <vector>

namespace {
constexpr size_t LEAST = 8, MOST = %d;
struct Call {
    void* function;
    std::vector<void*> given;
};
typedef std::vector<Call> Calls;

template <size_t>
using Pointer = void*;

template <size_t... I>
void with(void* function, void* const* given, std::index_sequence<I...>) {
    reinterpret_cast<void (*)(Pointer<I>...)>(function)(given[I]...);
}

// A function that takes less does not look at the rest, which the convention of x86-64 allows.
template <size_t N = LEAST>
void make(const Call& call) {
    if constexpr (N < MOST)
        if (call.given.size() > N) return make<2 * N>(call);
    with(call.function, call.given.data(), std::make_index_sequence<N>{});
}

size_t room(size_t size) {
    size_t found = LEAST;
    while (found < size) found *= 2;
    return found;
}

void forget(PyObject* capsule) {
    delete static_cast<Calls*>(PyCapsule_GetPointer(capsule, nullptr));
}

// Of tuples (address of a function, what it is given...).
PyObject* sequence(PyObject*, PyObject* given) {
    auto calls = new Calls;
    PyObject* capsule = PyCapsule_New(calls, nullptr, forget);
    if (!capsule) return nullptr;
    for (Py_ssize_t at = 0; at < PyList_Size(given); at++) {
        PyObject* each = PyList_GetItem(given, at);
        const Py_ssize_t size = PyTuple_Size(each);
        if (size < 1 || size > static_cast<Py_ssize_t>(MOST) + 1) break;
        Call call{PyLong_AsVoidPtr(PyTuple_GetItem(each, 0)), {}};
        for (Py_ssize_t n = 1; n < size; n++)
            call.given.push_back(PyLong_AsVoidPtr(PyTuple_GetItem(each, n)));
        call.given.resize(room(call.given.size()));
        calls->push_back(call);
    }
    if (!PyErr_Occurred() && calls->size() == static_cast<size_t>(PyList_Size(given)))
        return capsule;
    Py_DECREF(capsule);
    return PyErr_Occurred() ? nullptr : PyErr_Format(PyExc_TypeError, "too many arguments");
}

PyObject* take(PyObject*, PyObject* capsule) {
    const auto calls = static_cast<const Calls*>(PyCapsule_GetPointer(capsule, nullptr));
    if (!calls) return nullptr;
    Py_BEGIN_ALLOW_THREADS
    for (const Call& each : *calls) make(each);
    Py_END_ALLOW_THREADS
    Py_RETURN_NONE;
}

PyMethodDef methods[] = {{"sequence", sequence, METH_O, nullptr},
                         {"take", take, METH_O, nullptr},
                         {nullptr, nullptr, 0, nullptr}};
PyModuleDef module = {PyModuleDef_HEAD_INIT, "sequence", nullptr, -1, methods, nullptr, nullptr,
                      nullptr, nullptr};
}  // namespace

PyMODINIT_FUNC PyInit_sequence() { return PyModule_Create(&module); }
""" % (MOST,)  # noqa: UP031  # of C, which is full of braces


class NativeCall(NamedTuple):
    """A function that takes addresses and returns nothing."""

    address: int
    given: tuple[int, ...]
    held: Any = None
    """Of which only the addresses are given."""


def sequence(calls: Sequence[NativeCall]) -> Callable[[], None]:
    """What makes these calls, as often as it is called itself.

    Raises:
        NotBuilt: there is no C++ compiler.
        TypeError: one takes more arguments than :data:`MOST`.
    """
    native = _native()
    made = functools.partial(
        native.take, native.sequence([(each.address, *each.given) for each in calls])
    )
    vars(made)["held"] = [each.held for each in calls]
    return made


@functools.cache
def _native() -> Any:
    return module("sequence", SOURCE)
