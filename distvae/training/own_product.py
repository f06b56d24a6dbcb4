"""The kernel of this package as an operation of torch, which its compiler calls directly."""

import functools
from typing import Any

import torch
from torch import Tensor

from distvae.training import kernel


@functools.cache
def usable() -> bool:
    """Whether the kernel works here, and this torch's compiler can be told to call it."""
    if not kernel.works():
        return False
    try:
        _tell_compiler()
    except (ImportError, AttributeError, TypeError):  # these names of torch are not public
        return False
    return True


@torch.library.custom_op("distvae::product", mutates_args=())
def product(left: Tensor, right: Tensor) -> Tensor:
    """``[M, K]`` times ``[K, N]``, both float32 on the CPU and not empty."""
    out = left.new_empty(left.shape[0], right.shape[1])
    kernel.multiply(left, right, out)
    return out


@product.register_fake
def _(left: Tensor, right: Tensor) -> Tensor:
    return left.new_empty(left.shape[0], right.shape[1])


@functools.cache
def _choice() -> Any:
    """The kernel under a name of the compiler, which knows each name once."""
    from torch._inductor.select_algorithm import ExternKernelChoice

    return ExternKernelChoice(kernel.multiply, name="distvae_multiply")


def _tell_compiler() -> None:
    """Let compiled code call the kernel itself, around torch's dispatcher."""
    from torch._inductor.kernel.mm_common import mm_args
    from torch._inductor.lowering import register_lowering

    choice = _choice()

    @register_lowering(torch.ops.distvae.product.default, type_promotion_kind=None)
    def _(left: Any, right: Any) -> Any:
        *_, layout, left, right = mm_args(left, right)  # type: ignore[no-untyped-call]
        return choice.bind([left, right], layout).output_node()
