"""Affine coupling layers: an invertible function of latents, given a context.

Dinh et al. 2017 (RealNVP, arXiv:1605.08803), eq. 7 and 8. Their log-scales are bounded by
``BOUND``, so a flow of n layers, n even, makes a scale exp(n) times as small or large at most.
Each layer scales and shifts one half of the dimensions by what a small dense network makes of the
other half and of the context; the halves take turns. It begins as the identity.

Legend: ... any leading axes, Z latent dimensions, F features of the context, W width.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distvae.distributions import Wide

BOUND = 2.0

LayerWeights = tuple[Tensor | None, ...]
"""Weight ``[W, Z/2]`` and bias of the latents, weight ``[W, F]`` of the context (None without), and
weight ``[Z, W]`` and bias of what comes out."""
Weights = tuple[LayerWeights, ...]
"""Of each layer. Kept apart from the module, so that a flow can be used with them held constant."""


class CouplingLayer(nn.Module):
    """The dense network of one layer."""

    def __init__(self, seen: int, changed: int, width: int, context_dim: int) -> None:
        super().__init__()
        self.latents = nn.Linear(seen, width)
        self.context = nn.Linear(context_dim, width, bias=False) if context_dim else None
        self.out = nn.Linear(width, 2 * changed)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def weights(self) -> LayerWeights:
        """As :func:`push` and :func:`pull` take them."""
        context = None if self.context is None else self.context.weight
        latents, out = self.latents, self.out
        return latents.weight, latents.bias, context, out.weight, out.bias


class CouplingFlow(Wide):
    """Coupling layers for ``dim`` latents, two at least.

    Args:
        dim: Z.
        layers: how many.
        width: W.
        context_dim: F; 0 without context.
    """

    def __init__(self, dim: int, layers: int, width: int, context_dim: int) -> None:
        super().__init__()
        sides = dim // 2, dim - dim // 2
        self.layers = nn.ModuleList(
            CouplingLayer(sides[turn % 2], sides[1 - turn % 2], width, context_dim)
            for turn in range(layers)
        )

    def weights(self) -> Weights:
        """As :func:`push` and :func:`pull` take them."""
        return tuple(layer.weights() for layer in self.layers)  # type: ignore[operator]


def push(weights: Weights, x: Tensor, context: Tensor | None) -> Tensor:
    """From noise to latents: ``x [..., Z]``, ``context [..., F]``, to ``[..., Z]``."""
    for turn, layer in enumerate(weights):
        seen, changed = _halves(x, turn)
        log_scale, shift = _change(layer, seen, context)
        x = _joined(seen, changed * torch.exp(log_scale) + shift, turn)
    return x


def pull(weights: Weights, z: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
    """From latents to noise: the inverse of :func:`push`.

    Returns:
        The noise ``[..., Z]``, and the logarithm of the factor ``[...]`` by which :func:`push`
        enlarges a volume there.
    """
    log_volume = z.new_zeros(z.shape[:-1])
    for turn, layer in reversed(list(enumerate(weights))):
        seen, changed = _halves(z, turn)
        log_scale, shift = _change(layer, seen, context)
        z = _joined(seen, (changed - shift) * torch.exp(-log_scale), turn)
        log_volume = log_volume + log_scale.sum(-1)
    return z, log_volume


def _halves(x: Tensor, turn: int) -> tuple[Tensor, Tensor]:
    """The half that a layer sees and the half that it changes."""
    middle = x.shape[-1] // 2
    halves = x[..., :middle], x[..., middle:]
    return halves if turn % 2 == 0 else halves[::-1]


def _joined(seen: Tensor, changed: Tensor, turn: int) -> Tensor:
    return torch.cat([seen, changed] if turn % 2 == 0 else [changed, seen], dim=-1)


def _change(layer: LayerWeights, seen: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
    """Log-scale and shift of the half that is changed."""
    weight, bias, context_weight, out_weight, out_bias = layer
    assert weight is not None
    assert out_weight is not None
    hidden = F.linear(seen, weight, bias)
    if context_weight is not None:
        assert context is not None
        hidden = hidden + F.linear(context, context_weight)
    log_scale, shift = F.linear(F.silu(hidden), out_weight, out_bias).chunk(2, dim=-1)
    return BOUND * torch.tanh(log_scale / BOUND), shift
