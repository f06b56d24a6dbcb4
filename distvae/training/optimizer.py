"""AdamW with one call a step.

``torch.optim.AdamW(fused=True)`` spends longer in Python, and in adding one to as many step counts
as there are parameters, than a small model spends in its kernel on a CPU. The update here is the
same kernel, called with lists made once and one step count for all.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from distvae.training.sharding import own_parts


class OneCallAdamW(torch.optim.AdamW):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019, arXiv:1711.05101), fused.

    All parameters are trained in every step, on one device, in float32. The state is that of
    ``torch.optim.AdamW``, but for ``step``, which all parameters share. Of parameters that are
    sharded, each process updates its own slices.

    Args:
        parameters: what is trained.
        lr: learning rate, overwritten in ``param_groups`` before each step.
        weight_decay: decoupled weight decay.
        eps: what is added to the root of the second moment.
    """

    def __init__(
        self, parameters: Iterable[Parameter], lr: float, weight_decay: float, eps: float = 1e-8
    ) -> None:
        super().__init__(parameters, lr=lr, weight_decay=weight_decay, eps=eps, fused=True)
        self.trained: list[Tensor] = self.param_groups[0]["params"]
        self.count = torch.zeros((), dtype=torch.float32, device=self.trained[0].device)
        for parameter in self.trained:
            self.state[parameter] = {
                "step": self.count,
                "exp_avg": torch.zeros_like(parameter, memory_format=torch.preserve_format),
                "exp_avg_sq": torch.zeros_like(parameter, memory_format=torch.preserve_format),
            }
        with torch.no_grad():
            self._parts = own_parts(self.trained)
            self._means = own_parts(self.state[p]["exp_avg"] for p in self.trained)
            self._squares = own_parts(self.state[p]["exp_avg_sq"] for p in self.trained)
        self._counts = [self.count] * len(self.trained)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> Any:
        """Update every parameter from its gradient."""
        assert closure is None
        group = self.param_groups[0]
        beta1, beta2 = group["betas"]
        self.count += 1
        torch._fused_adamw_(
            self._parts,
            own_parts(parameter.grad for parameter in self.trained),  # type: ignore[misc]
            self._means,
            self._squares,
            [],
            self._counts,
            lr=group["lr"],
            beta1=beta1,
            beta2=beta2,
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            amsgrad=False,
            maximize=False,
        )

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients."""
        for parameter in self.trained:
            parameter.grad = None
