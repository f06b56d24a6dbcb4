"""Networks that terms look with and that are not trained."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn


class Fixed(nn.Module):
    """Holds a network in evaluation mode, which moves with this module.

    Nothing of it is a parameter or a buffer here: no optimizer, no checkpoint and no process that
    exchanges gradients comes upon it.

    Args:
        network: what is held; gradients pass through it.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self._held = (network.eval().requires_grad_(False),)

    def forward(self, *inputs: Any) -> Any:
        """What the network makes of them."""
        return self._held[0](*inputs)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Fixed":
        self._held[0]._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return super()._apply(fn, recurse)  # type: ignore[no-untyped-call, no-any-return]
