"""AdamW with one call a step for each player.

``torch.optim.AdamW(fused=True)`` spends longer in Python, and in adding one to as many step counts
as there are parameters, than a small model spends in its kernel on a CPU. The update here is the
same kernel, called with lists made once and one step count for all of a group.
"""

import inspect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor
from torch.nn import Parameter

from distvae.kernels import launched
from distvae.training.sharding import local_parts

if TYPE_CHECKING:
    from distvae.kernels.many import Together


@dataclass
class _Lists:
    """What the kernel takes of a group of parameters, in lists that are made once."""

    count: Tensor
    """Steps taken."""
    counts: list[Tensor]
    """The same for each parameter."""
    weights: list[Tensor]
    means: list[Tensor]
    squares: list[Tensor]
    tables: "Together | None" = None
    """Of the lists, once a kernel of this package has taken them."""


class OneCallAdamW(torch.optim.AdamW):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019, arXiv:1711.05101), fused.

    All parameters of a group are trained together, on one device, in float32. The state is that of
    ``torch.optim.AdamW``, but for ``step``, which the parameters of a group share. Of parameters
    that are sharded, each process updates its own slices.

    Each player has a group of parameters, or several that learn at different rates; a group has one
    step count. A group without gradients stands still, and so do all where a gradient scaler has
    found one that is not finite.

    Args:
        groups: ``params`` of each, ``name`` of its player, ``factor`` of the player's learning rate
            and ``weight_decay``, which is decoupled.
        lr: learning rate, overwritten in ``param_groups`` before each step, there also by a scalar
            on the device, on a CPU in float64.
        eps: what is added to the root of the second moment.
    """

    def __init__(
        self,
        groups: Iterable[dict[str, Any]],
        lr: float,
        eps: float = 1e-8,
    ) -> None:
        super().__init__(groups, lr=lr, eps=eps, fused=True)
        with torch.no_grad():
            self._lists = [self._prepared(group["params"]) for group in self.param_groups]

    add_param_group = inspect.unwrap(torch.optim.AdamW.add_param_group)
    """As torch's, without the import of TorchDynamo to keep it from tracing this."""

    def _prepared(self, parameters: list[Parameter]) -> "_Lists":
        """What the kernel takes of a group, whose moments begin as zeros."""
        count = torch.zeros((), dtype=torch.float32, device=parameters[0].device)
        for parameter in parameters:
            self.state[parameter] = {
                "step": count,
                "exp_avg": torch.zeros_like(parameter, memory_format=torch.preserve_format),
                "exp_avg_sq": torch.zeros_like(parameter, memory_format=torch.preserve_format),
            }
        return _Lists(
            count,
            [count] * len(parameters),
            local_parts(parameters),
            local_parts(self.state[parameter]["exp_avg"] for parameter in parameters),
            local_parts(self.state[parameter]["exp_avg_sq"] for parameter in parameters),
        )

    def step(self, closure: Callable[[], float] | None = None) -> Any:
        """:meth:`move`, and whatever torch does around the step of an optimizer."""
        assert closure is None
        self.move()

    @torch.no_grad()
    def move(self, left_out: Tensor | None = None) -> None:
        """Update every parameter that has a gradient.

        Args:
            left_out: 1 where the step changes nothing and yet is counted, else 0, float32 [] on
                the device.
        """
        scaled = getattr(self, "found_inf", None)  # both come from a gradient scaler
        found_inf = scaled if left_out is None else left_out
        scale = getattr(self, "grad_scale", None)
        for group, lists in zip(self.param_groups, self._lists, strict=True):
            if group["params"][0].grad is None:
                continue
            beta1, beta2 = group["betas"]
            lists.count.add_(1)
            gradients = local_parts(parameter.grad for parameter in group["params"])
            if found_inf is None and _fit_kernel(lists.weights, gradients, group["lr"]):
                _launch(group, lists, gradients)
                continue
            torch._fused_adamw_(
                lists.weights,
                gradients,
                lists.means,
                lists.squares,
                [],
                lists.counts,
                lr=group["lr"],
                beta1=beta1,
                beta2=beta2,
                weight_decay=group["weight_decay"],
                eps=group["eps"],
                amsgrad=False,
                maximize=False,
                grad_scale=scale,
                found_inf=found_inf,
            )
            if scaled is not None:
                lists.count.sub_(scaled)

    def groups(self, player: str) -> list[dict[str, Any]]:
        """What the parameters of a player are trained by."""
        return [group for group in self.param_groups if group["name"] == player]

    def counts(self) -> dict[str, int]:
        """Steps that each player has taken; waits for the device."""
        pairs = zip(self.param_groups, self._lists, strict=True)
        return {group["name"]: int(lists.count.item()) for group, lists in pairs}

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients."""
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad = None


def _fit_kernel(weights: list[Tensor], gradients: list[Tensor], rate: Tensor | float) -> bool:
    """Whether the kernel of this package takes them."""
    return (
        isinstance(rate, Tensor)
        and launched(rate, *weights, *gradients)
        and all(tensor.dtype is torch.float32 for tensor in (*weights, *gradients))
        and laid_alike(weights, gradients)
    )


def laid_alike(some: Sequence[Tensor], others: Sequence[Tensor]) -> bool:
    """Whether tensors fill their memory without gaps, the others in the same order."""
    pairs = zip(some, others, strict=True)
    return all(map(_is_dense, some)) and all(a.stride() == b.stride() for a, b in pairs)


def _is_dense(tensor: Tensor) -> bool:
    """Whether the numbers of a tensor fill its memory without gaps, in whatever order."""
    sizes = sorted(zip(tensor.stride(), tensor.shape, strict=True))
    expected = 1
    for stride, size in sizes:
        if size != 1 and stride != expected:
            return False
        expected *= size
    return True


def _launch(group: dict[str, Any], lists: _Lists, gradients: list[Tensor]) -> None:
    """The step of a group by the kernel of this package."""
    from distvae.kernels.many import Together, adamw

    if lists.tables is None:
        lists.tables = Together(lists.weights, lists.means, lists.squares)
    rate, betas = cast(Tensor, group["lr"]), group["betas"]
    adamw(lists.tables, gradients, rate, lists.count, betas, group["weight_decay"], group["eps"])
