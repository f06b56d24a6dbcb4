"""Pieces shared by the network families.

Legend: B batch, F features, C channels, H height, W width.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distvae.conditions import NOTHING, Context, ContextShape, summed, written_out
from distvae.config import ModelConfig
from distvae.distributions import wide
from distvae.gradients import modulated

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "silu": nn.SiLU,
    "gelu": nn.GELU,
    "tanh": nn.Tanh,
}

Convolution = nn.Conv2d | nn.Conv3d

DENSE_FEATURES = 256
"""Between the maps of a network and its latents."""


class Modulation(nn.Module):
    """Scales and shifts features by their context: ``h (1 + scale[y]) + shift[y]``.

    Perez et al. 2018 (FiLM, arXiv:1709.07871). Scale and shift are the sum of a row for each label
    and a linear map of the numbers. It begins as the identity. Without a context it is the identity
    and has no parameters.
    """

    def __init__(self, given: ContextShape, features: int) -> None:
        super().__init__()
        self.by_label = given.is_label
        self.table = nn.Embedding(given.rows, 2 * features) if given.rows else None
        self.linear = nn.Linear(given.numbers, 2 * features, False) if given.numbers else None
        for part in (self.table, self.linear):
            if part is not None:
                nn.init.zeros_(part.weight)

    def forward(self, features: Tensor, context: Context | None) -> Tensor:
        """``features [B, F]`` or ``[B, F, H, W]``."""
        if self.table is None and self.linear is None:
            return features
        found = summed(
            context,
            None if self.table is None else self.table.weight,
            None if self.linear is None else self.linear.weight,
        )
        return modulated(features, found)

    def simplified(self) -> nn.Module:
        """With finished tables, where one label decides."""
        return self if self.table is None or not self.by_label else FixedModulation(self)


class FixedModulation(nn.Module):
    """``h factor[y] + shift[y]`` from two finished tables, where training has ``1 + scale[y]``."""

    def __init__(self, trained: Modulation) -> None:
        super().__init__()
        assert trained.table is not None
        scale, shift = trained.table.weight.detach().chunk(2, dim=1)
        self.factor = nn.Parameter(1.0 + scale)
        self.shift = nn.Parameter(shift.clone())

    def take_bias(self, layer: nn.Linear) -> None:
        """Add what a layer adds before this one, which then is a product and nothing else."""
        self.shift.data += layer.bias.data * self.factor.data
        layer.bias = None  # type: ignore[assignment]

    def forward(self, features: Tensor, context: Context) -> Tensor:
        """``features [B, F]`` or ``[B, F, H, W]``."""
        label = context.label
        factor, shift = F.embedding(label, self.factor), F.embedding(label, self.shift)
        if features.dim() > 2:
            sides = (..., *[None] * (features.dim() - 2))
            factor, shift = factor[sides], shift[sides]
        return features * factor + shift


class ImageNorm(nn.Module):
    """Layer normalization over the channels of each pixel, without parameters to learn.

    Taken in float32 also where the convolutions around it compute in less.
    """

    def forward(self, features: Tensor) -> Tensor:
        """``features [B, C, H, W]``."""
        exact = wide(features)
        variance, mean = torch.var_mean(exact, dim=1, keepdim=True, correction=0)
        return ((exact - mean) * torch.rsqrt(variance + 1e-5)).to(features.dtype)

    def simplified(self) -> nn.Module:
        """With convolutions."""
        return ConvolvedNorm()


class ConvolvedNorm(nn.Module):
    """:class:`ImageNorm` with its means taken by convolutions of one pixel.

    ONNX Runtime adds a mean over channels up in another order when the batch is one image, so that
    an image would depend on the batch it is drawn in; a convolution is the same for every batch.
    """

    def forward(self, features: Tensor) -> Tensor:
        """``features [B, C, H, W]``."""
        channels, sides = features.shape[1], features.dim() - 2
        average = torch.full((1, channels, *[1] * sides), 1.0 / channels)
        conv = F.conv2d if sides == 2 else F.conv3d
        centred = features - conv(features, average)
        return centred * torch.rsqrt(conv(centred * centred, average) + 1e-5)


def convolution_along(sides: Sequence[int]) -> type[Convolution]:
    """The convolution of maps of two sides, or of three."""
    return nn.Conv2d if len(sides) == 2 else nn.Conv3d


def concatenated_or_modulated(
    config: ModelConfig, given: ContextShape
) -> tuple[ContextShape, ContextShape]:
    """What of a context is joined to features, and what modulates them."""
    return (given, NOTHING) if config.conditioning == "concat" else (NOTHING, given)


def joined(features: Tensor, context: Context | None, shape: ContextShape) -> Tensor:
    """``features [B, F, ...]`` and a context beside them ``[B, F + shape.width, ...]``."""
    if not shape.width:
        return features
    columns = written_out(context, shape, features)
    if features.dim() > 2:
        sides = features.shape[2:]
        columns = columns[(..., *[None] * len(sides))].expand(-1, -1, *sides)
    return torch.cat([features, columns], dim=1)


def scaled(channels: int, width: float) -> int:
    """``channels`` times ``width``, at least one."""
    return max(1, round(channels * width))
