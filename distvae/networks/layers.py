"""Pieces shared by the network families.

Legend: B batch, F features, C channels, H height, W width, L labels.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "silu": nn.SiLU,
    "gelu": nn.GELU,
    "tanh": nn.Tanh,
}


class Modulation(nn.Module):
    """Scales and shifts features by label: ``h (1 + scale[y]) + shift[y]``.

    Perez et al. 2018 (FiLM, arXiv:1709.07871). It begins as the identity. Without labels it is
    the identity and has no parameters.
    """

    def __init__(self, num_labels: int, features: int) -> None:
        super().__init__()
        self.table = nn.Embedding(num_labels, 2 * features) if num_labels else None
        if self.table is not None:
            nn.init.zeros_(self.table.weight)

    def forward(self, features: Tensor, labels: Tensor | None) -> Tensor:
        """``features [B, F]`` or ``[B, F, H, W]``, ``labels [B]`` int64."""
        if self.table is None:
            return features
        scale, shift = self.table(labels).chunk(2, dim=1)
        if features.dim() == 4:
            scale, shift = scale[:, :, None, None], shift[:, :, None, None]
        return torch.addcmul(features + shift, features, scale)


class ImageNorm(nn.Module):
    """Layer normalization over the channels of each pixel, without parameters to learn."""

    def forward(self, features: Tensor) -> Tensor:
        """``features [B, C, H, W]``."""
        variance, mean = torch.var_mean(features, dim=1, keepdim=True, correction=0)
        return (features - mean) * torch.rsqrt(variance + 1e-5)


def one_hot(labels: Tensor | None, num_labels: int, like: Tensor) -> Tensor:
    """``labels [B]`` as ``[B, L]`` of the type of ``like``."""
    assert labels is not None
    return F.one_hot(labels, num_labels).to(like.dtype)


def scaled(channels: int, width: float) -> int:
    """``channels`` times ``width``, at least one."""
    return max(1, round(channels * width))
