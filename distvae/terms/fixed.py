"""Networks that terms look with and that are not trained.

Legend: R rows, C channels, H height, W width.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distvae.distributions import wide


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


def distance_of_maps(
    network: Callable[[Tensor], Iterable[Tensor]], first: Tensor, second: Tensor
) -> Tensor:
    """How far apart the maps of two batches of images are, a scalar from 0 to 4.

    The channels at each place of a map are scaled to length 1; it is the squared distance of these,
    the mean over places and rows, then over maps.

    Args:
        network: images ``[R, C, H, W]`` in [0, 1] to maps, each ``[R, channels, height, width]``.
        first: images, through which gradients pass.
        second: the images that they are held against.
    """
    with torch.no_grad():
        theirs = [_unit(each) for each in network(second)]
    pairs = zip(network(first), theirs, strict=True)
    each = [(_unit(own) - other).square().sum(1).mean() for own, other in pairs]
    return torch.stack(each).mean()


def _unit(maps: Tensor) -> Tensor:
    return F.normalize(wide(maps), dim=1, eps=1e-6)
