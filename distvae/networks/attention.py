"""Attention between the places of a map.

Legend: B batch, C channels, H height, W width.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from distvae.networks.layers import ImageNorm, convolution_along
from distvae.networks.pyramid import Level


def attended(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """What each place takes of all, by one head: maps ``[B, C, H, W]`` to the same shape."""
    # the exporter to ONNX asks for an axis of heads
    q, k, v = (each.flatten(2).transpose(1, 2).unsqueeze(1) for each in (queries, keys, values))
    found = F.scaled_dot_product_attention(q, k, v).squeeze(1)
    return found.transpose(1, 2).unflatten(2, queries.shape[2:])  # type: ignore[no-untyped-call, no-any-return]


class PlaceAttention(nn.Module):
    """``h + out(attention(norm(h)))`` of one head; the last convolution begins at zero."""

    def __init__(self, level: Level) -> None:
        super().__init__()
        channels, conv = level.channels, convolution_along(level.sides)
        self.norm = ImageNorm()
        self.to_three = conv(channels, 3 * channels, 1)
        self.out = conv(channels, channels, 1)
        nn.init.zeros_(self.out.weight)

    def forward(self, features: Tensor) -> Tensor:
        """``[B, C, H, W]`` to the same shape."""
        out: Tensor = self.out(attended(*self.to_three(self.norm(features)).chunk(3, dim=1)))
        return features + out
