"""The kernel of this package as an operation of torch, which its compiler calls directly.

Where nothing is compiled, dense layers take it inside :class:`OwnLayers`.

Legend: B batch, F features that a layer takes, G features that it gives.
"""

import functools
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from distvae.batch import Batch
from distvae.objectives import Loss, Pressure
from distvae.training import kernel
from distvae.training.update import LossOf

NAME = "distvae_multiply"
"""Of the kernel in compiled code."""


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


# torch's `custom_op` takes three times as long for each call
torch.library.define("distvae::product", "(Tensor left, Tensor right, Tensor? bias=None) -> Tensor")


@torch.library.impl("distvae::product", "CPU")
def _(left: Tensor, right: Tensor, bias: Tensor | None = None) -> Tensor:
    out = left.new_empty(left.shape[0], right.shape[1])
    kernel.multiply(left, right, out, bias)
    return out


@torch.library.register_fake("distvae::product")  # type: ignore[untyped-decorator]
def _(left: Tensor, right: Tensor, bias: Tensor | None = None) -> Tensor:
    return left.new_empty(left.shape[0], right.shape[1])


product: Callable[..., Tensor] = torch.ops.distvae.product.default
"""``[M, K]`` times ``[K, N]``, and a bias ``[N]`` to each row: float32, on the CPU, not empty."""


class OwnLayers(TorchFunctionMode):
    """Inside, dense layers of float32 multiply by the kernel, forward and backward."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Take a function of torch, a dense layer by the kernel."""
        if func is F.linear and not kwargs and _fit(args):
            features, weight, *bias = args
            found: Tensor = _Layer.apply(features.flatten(0, -2), weight, *bias or [None])  # type: ignore[no-untyped-call]
            return found.view(*features.shape[:-1], -1)
        return func(*args, **(kwargs or {}))


def by_kernel(loss_of: LossOf) -> LossOf:
    """A loss whose dense layers multiply by the kernel."""

    def loss(training: nn.Module, batch: Batch, pressure: Pressure) -> Loss:
        with OwnLayers():
            return loss_of(training, batch, pressure)

    return loss


def _fit(tensors: tuple[Tensor | None, ...]) -> bool:
    """Whether the kernel takes these of a layer."""
    features, *others = tensors
    if features is None or features.dim() < 2 or not features.numel():
        return False
    kinds = {(each.dtype, each.device.type) for each in (features, *others) if each is not None}
    return kinds == {(torch.float32, "cpu")} and not torch.is_autocast_enabled("cpu")


class _Layer(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(features, weight)
        return product(features, weight.t(), bias)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        features, weight = ctx.saved_tensors
        # the kernel has no gradient, for those that are to have one themselves
        multiply = torch.mm if torch.is_grad_enabled() else product
        to_features, to_weight, to_bias = ctx.needs_input_grad
        return (
            multiply(gradient, weight) if to_features else None,
            multiply(gradient.t(), features) if to_weight else None,
            gradient.sum(0) if to_bias else None,
        )


@functools.cache
def _choice() -> Any:
    """The kernel under a name of the compiler, which knows each name once."""
    from torch._inductor.select_algorithm import ExternKernelChoice

    return ExternKernelChoice(kernel.multiply, name=NAME)


def _tell_compiler() -> None:
    """Let compiled code call the kernel itself, around torch's dispatcher; the bias is fused."""
    from torch._inductor.kernel.mm_common import mm_args
    from torch._inductor.lowering import register_lowering

    choice = _choice()

    @register_lowering(torch.ops.distvae.product.default, type_promotion_kind=None)
    def _(left: Any, right: Any) -> Any:
        *_, layout, left, right = mm_args(left, right)  # type: ignore[no-untyped-call]
        return choice.bind([left, right], layout).output_node()
