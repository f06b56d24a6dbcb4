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

    def simplified(self) -> nn.Module:
        """With finished tables."""
        return self if self.table is None else FixedModulation(self)


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

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        """``features [B, F]`` or ``[B, F, H, W]``, ``labels [B]`` int64."""
        factor, shift = F.embedding(labels, self.factor), F.embedding(labels, self.shift)
        if features.dim() == 4:
            factor, shift = factor[:, :, None, None], shift[:, :, None, None]
        return features * factor + shift


class ImageNorm(nn.Module):
    """Layer normalization over the channels of each pixel, without parameters to learn."""

    def forward(self, features: Tensor) -> Tensor:
        """``features [B, C, H, W]``."""
        variance, mean = torch.var_mean(features, dim=1, keepdim=True, correction=0)
        return (features - mean) * torch.rsqrt(variance + 1e-5)

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
        channels = features.shape[1]
        average = torch.full((1, channels, 1, 1), 1.0 / channels)
        centred = features - F.conv2d(features, average)
        return centred * torch.rsqrt(F.conv2d(centred * centred, average) + 1e-5)


def one_hot(labels: Tensor | None, num_labels: int, like: Tensor) -> Tensor:
    """``labels [B]`` as ``[B, L]`` of the type of ``like``."""
    assert labels is not None
    return F.one_hot(labels, num_labels).to(like.dtype)


def scaled(channels: int, width: float) -> int:
    """``channels`` times ``width``, at least one."""
    return max(1, round(channels * width))
