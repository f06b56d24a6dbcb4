"""Functions of C, called in a row, and those that compiled code calls beside its own."""

import ctypes
from array import array

import pytest
import torch

from distvae.training import native, sequence
from distvae.training.capture import NotCaptured
from distvae.training.generated import _Libraries, noted_apart
from distvae.training.operations import Noted

pytestmark = pytest.mark.skipif(not native.compiler(), reason="no C++ compiler")
COPY = ctypes.cast(ctypes.CDLL(None).strcpy, ctypes.c_void_p).value or 0


def address(values: "array[int]", at: int = 0) -> int:
    return values.buffer_info()[0] + at


def test_calls_are_made_in_order_each_time() -> None:
    """Also of a function that takes less than the many that it is given."""
    one, two = array("b", b"first\0second\0"), array("b", bytes(20))
    calls = [
        sequence.NativeCall(COPY, (address(two), address(one))),
        sequence.NativeCall(COPY, (address(two, 3), address(one, 6)), two),
        sequence.NativeCall(COPY, (address(two, 9), address(two)) + (0,) * 2000, one),
    ]
    made = sequence.sequence(calls)
    for _ in range(2):
        two[:] = array("b", bytes(20))
        made()
        assert two.tobytes()[:19] == b"firsecondfirsecond\0"


def test_what_takes_too_much_is_refused() -> None:
    with pytest.raises(TypeError, match="too many"):
        sequence.sequence([sequence.NativeCall(COPY, (0,) * (sequence.MOST + 1))])
    with pytest.raises(TypeError):
        sequence.sequence([sequence.NativeCall(COPY, ("x",))])  # type: ignore[arg-type]


def test_products_of_a_library_are_noted_and_what_makes_memory_is_refused() -> None:
    noted = Noted()
    libraries, out = _Libraries(noted), torch.empty(2, 2)
    libraries.mm(torch.ones(2, 3), torch.ones(3, 2), out=out)
    assert out.tolist() == [[3, 3], [3, 3]]
    (operation,) = noted.operations
    assert operation.function is torch.ops.aten.mm.out
    assert len(noted.outer) == 3
    with pytest.raises(NotCaptured, match="convolution"):
        libraries.convolution(torch.ones(1, 1, 1))


def test_compiled_code_of_which_no_kernel_is_noted_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else a recording without them would repeat nothing, as of code with a wrapper of C++."""
    weight = torch.ones(2)
    with pytest.raises(NotCaptured, match="not known here"), Noted(), noted_apart():
        weight.add_(1)
    assert weight.tolist() == [2, 2]
    from torch._inductor import codecache

    monkeypatch.delattr(codecache.PyCodeCache, "modules")
    with pytest.raises(NotCaptured, match="elsewhere"), Noted(), noted_apart():
        pass
