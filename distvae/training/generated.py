"""The kernels that a compiled step calls, noted while it runs.

Torch's compiler writes a module of Python that allocates memory and calls one kernel after the
other. The names that it calls are replaced for one call of it.
"""

# torch leaves functions untyped
# mypy: disable-error-code="no-untyped-call"

import contextlib
import ctypes
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes, _get_current_dispatch_mode

from distvae.training import kernel
from distvae.training.capture import NotCaptured
from distvae.training.operations import Generated, Noted
from distvae.training.own_product import NAME, product

KERNELS, LIBRARIES, ALLOCATE = "cpp_", "extern_kernels", "empty_strided_cpu"
"""In a generated module: how names of kernels begin, what else multiplies, what allocates."""


@contextlib.contextmanager
def noted_apart() -> Iterator[None]:
    """Inside, while a step is noted, the kernels of compiled code are noted in place of operations.

    Raises:
        NotCaptured: compiled code calls what cannot be noted.
    """
    noted = _get_current_dispatch_mode()
    if not isinstance(noted, Noted):
        yield
        return
    modules = _generated_modules()
    before = [dict(vars(each)) for each in modules]
    already = len(noted.operations)
    with _disable_current_modes():  # under which torch would compile anew
        try:
            for each in modules:
                vars(each).update(_noting(each, noted))
            yield
        finally:
            for each, names in zip(modules, before, strict=True):
                vars(each).update(names)
    if not any(isinstance(each.function, Generated) for each in noted.operations[already:]):
        raise NotCaptured("compiled code calls its kernels in a way that is not known here")


def _generated_modules() -> list[ModuleType]:
    """What torch's compiler wrote in this process, for a CPU."""
    try:
        from torch._inductor.codecache import PyCodeCache

        return [each for each in PyCodeCache.modules if hasattr(each, ALLOCATE)]
    except (ImportError, AttributeError) as error:  # these names of torch are not public
        raise NotCaptured(f"this torch keeps its compiled code elsewhere: {error}") from error


def _noting(module: ModuleType, noted: Noted) -> dict[str, Any]:
    """The names of a generated module that are replaced."""
    allocate = getattr(module, ALLOCATE)

    def allocated(*given: Any) -> Tensor:
        tensor: Tensor = allocate(*given)
        noted.allocated(tensor)
        return tensor

    kernels = {
        name: _noted_kernel(entry, noted)
        for name, entry in vars(module).items()
        if name.startswith(KERNELS) and callable(entry)
    }
    return {**kernels, ALLOCATE: allocated, LIBRARIES: _Libraries(noted)}


def _noted_kernel(entry: Any, noted: Noted) -> Callable[..., None]:
    """A kernel that is noted when it is called."""

    def call(*given: Any) -> None:
        if not all(isinstance(each, Tensor) for each in given):
            raise NotCaptured("a kernel of a compiled step takes more than tensors")
        noted.add(Generated(_address(entry)), *given)
        entry(*given)

    return call


def _address(entry: Any) -> int:
    """Where the function of C lies that is behind one of Python."""
    try:
        function = ctypes.CDLL(entry.__self__.__file__).kernel
    except (AttributeError, OSError) as error:
        raise NotCaptured(f"a compiled kernel is not where it is looked for: {error}") from error
    return ctypes.cast(function, ctypes.c_void_p).value or 0


class _Libraries:
    """What compiled code calls of others: the product of this package, or one of torch's."""

    def __init__(self, noted: Noted) -> None:
        self._noted = noted

    def __getattr__(self, name: str) -> Callable[..., None]:
        if name == NAME:
            return self._multiply
        function = getattr(getattr(torch.ops.aten, name, None), "out", None)

        def call(*given: Any, out: Tensor | None = None, **options: Any) -> None:
            if function is None or out is None:
                raise NotCaptured(f"a compiled step calls {name}, which makes memory of its own")
            self._noted.add(function, *given, found=out, out=out, **options)
            function(*given, out=out, **options)

        return call

    def _multiply(self, left: Tensor, right: Tensor, out: Tensor) -> None:
        self._noted.add(product, left, right, found=out)
        kernel.multiply(left, right, out)
