"""Plain convolutional encoder and decoder, without normalization: the fast ones.

The same of images and, along three sides, of volumes.

Legend: B batch, C channels, H height, W width, Z axes of the latents, P parameter maps.
"""

import itertools

import torch.nn.functional as F
from torch import Tensor, nn, no_grad, zeros

from distvae.conditions import Context, ContextShape
from distvae.config import ModelConfig
from distvae.networks.base import Decoder, Encoder
from distvae.networks.layers import (
    ACTIVATIONS,
    Convolution,
    ImageNorm,
    Modulation,
    concatenated_or_modulated,
)
from distvae.networks.pyramid import (
    downward,
    fold,
    pyramid,
    sides_of,
    unfold,
    unfolding,
    upward,
    upwards,
)
from distvae.networks.stems import build_stem
from distvae.parts import GRID, Part


class ConvLayer(nn.Module):
    """Convolution, norm, label modulation, nonlinearity."""

    def __init__(self, conv: Convolution, config: ModelConfig, given: ContextShape) -> None:
        super().__init__()
        self.conv = conv
        self.norm = ImageNorm() if config.norm == "layer" else nn.Identity()
        self.modulation = Modulation(given, conv.out_channels)
        self.activation = ACTIVATIONS[config.activation]()

    def forward(self, features: Tensor, context: Context | None) -> Tensor:
        """``[B, in_channels, H, W]`` to ``[B, out_channels, H', W']``."""
        out: Tensor = self.activation(self.modulation(self.norm(self.conv(features)), context))
        return out


class ConvPart(Part):
    """Plain convolutions, the fast ones."""

    name = "conv"
    builds = ("ConvEncoder", "ConvDecoder")
    needs = (GRID,)
    traits = ("maps",)
    usual = True


class ConvEncoder(Encoder):
    """Folded image, one 3x3 convolution a level with stride 2 between levels."""

    def __init__(self, config: ModelConfig, shape: tuple[int, ...], given: ContextShape) -> None:
        super().__init__()
        _, modulated = concatenated_or_modulated(config, given)
        channels, *sides = sides_of(shape)
        levels = pyramid(config, *sides)
        self.shapes = tuple(level.shape for level in levels)
        convolutions = [*downward(channels, levels)]  # their weights are drawn before the others
        self.layers = nn.ModuleList(ConvLayer(conv, config, modulated) for conv in convolutions)

    def forward(self, inputs: Tensor, context: Context | None) -> tuple[Tensor, ...]:
        """``inputs [B, C, H, W]`` to maps ``[B, *shape]`` of each level, the finest first."""
        features, maps = fold(inputs), []
        for layer in self.layers:
            features = layer(features, context)
            maps.append(features)
        return tuple(maps)


class ConvDecoder(Decoder):
    """A stem, then 3x3 convolutions that double the resolution by pixel shuffle."""

    def __init__(
        self,
        config: ModelConfig,
        shape: tuple[int, ...],
        given: ContextShape,
        maps_per_channel: int,
        latents: tuple[int, ...],
    ) -> None:
        super().__init__()
        _, modulated = concatenated_or_modulated(config, given)
        channels, *sides = sides_of(shape)
        self.sides = tuple(sides)
        levels = upwards(pyramid(config, *sides), latents)
        self.levels = levels[::-1]
        activation = ACTIVATIONS[config.activation]()
        self.stem = build_stem(config, latents, levels[0], given, activation)
        self.layers = nn.ModuleList(ConvLayer(conv, config, modulated) for conv in upward(levels))
        maps = channels * maps_per_channel
        self.out = unfolding(levels[-1], maps, bias=False)
        self.offset = nn.Parameter(zeros(maps, *sides))

    @no_grad()
    def initialize_output(self, parameters: Tensor) -> None:
        """Let every output begin near ``parameters [P, H, W]``."""
        self.offset.copy_(parameters)

    def forward(self, z: Tensor, context: Context | None) -> Tensor:
        """``z [B, *Z]`` to ``[B, P, H, W]``."""
        features = self.folded_features(z, context)
        if len(self.layers):
            features = unfold(features, *self.levels[0].sides)
        return unfold(self.out(features), *self.sides) + self.offset

    def folded_features(self, z: Tensor, context: Context | None) -> Tensor:
        """What the last convolution sees, still folded if there are levels below it."""
        features: Tensor = self.stem(z, context)
        for number, layer in enumerate(self.layers):
            if number:
                features = unfold(features, *self.levels[-1 - number].sides)
            features = layer(features, context)
        return features

    @property
    def unfolds_evenly(self) -> bool:
        """Whether the last convolution sees unfolded features of which nothing was cut off."""
        if not len(self.layers):
            return False
        above, below = self.levels[:2]
        return above.sides == tuple(2 * side for side in below.sides)

    def simplified(self) -> nn.Module:
        """With a last convolution on folded features, where nothing was cut off."""
        return FoldedConvDecoder(self) if self.unfolds_evenly and len(self.sides) == 2 else self


class FoldedConvDecoder(nn.Module):
    """:class:`ConvDecoder` whose last convolution works on features that are still folded.

    Unfolding is slow in ONNX Runtime, and most so for the widest features. A 3x3 convolution after
    it is a 3x3 convolution before it, with the four pixels of a fold as channels.
    """

    def __init__(self, trained: ConvDecoder) -> None:
        super().__init__()
        self.trained = trained
        weight = trained.out.weight.detach()
        outputs, inputs = weight.shape[:2]
        folded = weight.new_zeros(outputs, 2, 2, inputs, 2, 2, 3, 3)
        for y, x, down, right in itertools.product(range(2), range(2), range(3), range(3)):
            row, from_y = divmod(y + down - 1, 2)
            column, from_x = divmod(x + right - 1, 2)
            folded[:, y, x, :, from_y, from_x, row + 1, column + 1] = weight[:, :, down, right]
        self.weight = nn.Parameter(folded.reshape(4 * outputs, 4 * inputs, 3, 3))

    def forward(self, z: Tensor, context: Context | None) -> Tensor:
        """``z [B, *Z]`` to ``[B, P, H, W]``."""
        maps = F.conv2d(self.trained.folded_features(z, context), self.weight, padding=1)
        maps = unfold(maps, *self.trained.levels[0].sides)
        return unfold(maps, *self.trained.sides) + self.trained.offset
