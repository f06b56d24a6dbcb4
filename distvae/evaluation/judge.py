"""A small classifier of real examples that judges generated ones.

It knows nothing of the VAE, so what it says of a generated image is independent evidence. How it is
trained says :mod:`distvae.evaluation.judge_training`; what several of them say together, and where
they are kept, :mod:`distvae.evaluation.ensemble`.

Legend: B batch, N images, C channels, H height, W width, F features, L labels.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from distvae.blocks import joined

SIDE = 32
WIDTHS = (16, 32, 48)
FEATURES = 64
BLOCK = 128
"""Images together on a CPU."""


class _OwnNorm(nn.modules.batchnorm._BatchNorm):
    """Batch norm by torch's own kernels: several networks cannot be trained as one by cuDNN's."""

    def forward(self, input: Tensor) -> Tensor:
        """Of any shape to the same; a compiler takes apart what is not trained."""
        if not self.training:
            return super().forward(input)
        with torch.backends.cudnn.flags(enabled=False):
            return super().forward(input)


class _ImageNorm(_OwnNorm, nn.BatchNorm2d):
    """Of ``[B, C, H, W]``."""


class _VectorNorm(_OwnNorm, nn.BatchNorm1d):
    """Of ``[B, F]``."""


class JudgeNetwork(nn.Module):
    """A few layers and a head, the last of them hidden.

    Of images three convolutions of stride 2 and a dense layer, for any size and channels; of
    vectors two dense layers.
    """

    def __init__(self, shape: tuple[int, ...], num_labels: int) -> None:
        super().__init__()
        layers = _dense(*shape) if len(shape) == 1 else _convolutions(*shape)
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(FEATURES, num_labels)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``[B, L]`` of shrunk images ``[B, C, h, w]`` in [0, 1] or vectors ``[B, F]``."""
        logits: Tensor = self.head(self.features(images))
        return logits


def _convolutions(channels: int, height: int, width: int) -> list[nn.Module]:
    layers: list[nn.Module] = [_ImageNorm(channels, affine=False)]
    grid = shrink(torch.zeros(1, 1, height, width)).shape[2:]
    for before, after, kernel in zip((channels, *WIDTHS), WIDTHS, (5, 3, 3), strict=False):
        conv = nn.Conv2d(before, after, kernel, stride=2, padding=kernel // 2, bias=False)
        layers += [conv, _ImageNorm(after), nn.ReLU()]
        grid = torch.Size(-(-side // 2) for side in grid)
    return [*layers, nn.Flatten(), nn.Linear(WIDTHS[-1] * grid.numel(), FEATURES), nn.ReLU()]


def _dense(columns: int) -> list[nn.Module]:
    layers: list[nn.Module] = [_VectorNorm(columns, affine=False)]
    for width in (columns, FEATURES):
        layers += [nn.Linear(width, FEATURES, bias=False), _VectorNorm(FEATURES), nn.ReLU()]
    return layers


@dataclass(frozen=True, eq=False)
class Judge:
    """One trained judge."""

    model: JudgeNetwork
    """In evaluation mode."""

    def classify(self, images: Tensor) -> Tensor:
        """Labels int64 ``[N]`` of what a model draws ``[N, *S]``, on the judge's device."""
        return self.label(self.features(images))

    @torch.no_grad()
    def features(self, images: Tensor) -> Tensor:
        """The hidden layer that the decision rests on, ``[N, F]``, on the judge's device."""
        network, device = self.model.features, self.model.head.weight.device

        def features_of(part: slice) -> Tensor:
            found: Tensor = network(shrink(images[part].to(device)))
            return found

        return joined(features_of, len(images), BLOCK, device)

    @torch.no_grad()
    def label(self, features: Tensor) -> Tensor:
        """Labels int64 ``[N]`` of :meth:`features`."""
        labels: Tensor = self.model.head(features).argmax(dim=1)
        return labels


def shrink(images: Tensor) -> Tensor:
    """Images averaged down to at most 32 pixels a side, ``[B, C, h, w]``; small ones are kept.

    So are examples that have no sides.
    """
    if images.dim() != 4:
        return images
    height, width = images.shape[2:]
    if max(height, width) <= SIDE:
        return images.contiguous(memory_format=torch.channels_last)
    size = (min(height, SIDE), min(width, SIDE))
    return functional.adaptive_avg_pool2d(images, size).contiguous(
        memory_format=torch.channels_last
    )
