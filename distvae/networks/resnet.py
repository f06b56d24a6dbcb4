"""Residual convolutional encoder and decoder, of images and, along three sides, of volumes.

Legend: B batch, C channels, H height, W width, Z axes of the latents, P parameter maps.
"""

import itertools

from torch import Tensor, nn, no_grad, zeros

from distvae.conditions import Context, ContextShape
from distvae.config import ModelConfig
from distvae.networks.base import Decoder, Encoder
from distvae.networks.layers import (
    ACTIVATIONS,
    ImageNorm,
    Modulation,
    concatenated_or_modulated,
    convolution_along,
)
from distvae.networks.pyramid import Level, fold, pyramid, sides_of, unfold, upwards
from distvae.networks.stems import build_stem
from distvae.parts import GRID, Part

BLOCKS_PER_LEVEL = 2


class ResidualBlock(nn.Module):
    """``h + conv(act(mod(norm(conv(act(norm(h)))))))``; the last convolution begins at zero.

    He et al. 2016 (arXiv:1603.05027), with label modulation between the convolutions and layer
    normalization over channels, which, unlike batch statistics, gives one image the same result
    in every batch and on every number of processes.
    """

    def __init__(self, level: Level, config: ModelConfig, given: ContextShape) -> None:
        super().__init__()
        channels, conv = level.channels, convolution_along(level.sides)
        self.norm = ImageNorm()
        self.first = conv(channels, channels, 3, padding=1)
        self.modulation = Modulation(given, channels)
        self.second = conv(channels, channels, 3, padding=1)
        nn.init.zeros_(self.second.weight)
        self.activation = ACTIVATIONS[config.activation]()

    def forward(self, features: Tensor, context: Context | None) -> Tensor:
        """``[B, C, H, W]`` to the same shape."""
        inner = self.first(self.activation(self.norm(features)))
        inner = self.modulation(self.norm(inner), context)
        out: Tensor = features + self.second(self.activation(inner))
        return out


class Stage(nn.Module):
    """The residual blocks of one level."""

    def __init__(self, level: Level, config: ModelConfig, given: ContextShape) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            ResidualBlock(level, config, given) for _ in range(BLOCKS_PER_LEVEL)
        )

    def forward(self, features: Tensor, context: Context | None) -> Tensor:
        """``[B, C, H, W]`` to the same shape."""
        for block in self.blocks:
            features = block(features, context)
        return features


class ResNetPart(Part):
    """Residual convolutions."""

    name = "resnet"
    builds = ("ResNetEncoder", "ResNetDecoder")
    needs = (GRID,)
    traits = ("maps",)


class ResNetEncoder(Encoder):
    """Folded image, residual stages with strided convolutions between."""

    def __init__(self, config: ModelConfig, shape: tuple[int, ...], given: ContextShape) -> None:
        super().__init__()
        _, modulated = concatenated_or_modulated(config, given)
        channels, *sides = sides_of(shape)
        levels, conv = pyramid(config, *sides), convolution_along(sides)
        self.shapes = tuple(level.shape for level in levels)
        stem = conv(2 ** len(sides) * channels, levels[0].channels, 3, padding=1)
        halvings = [
            conv(a.channels, b.channels, 3, stride=2, padding=1)
            for a, b in itertools.pairwise(levels)
        ]
        self.down = nn.ModuleList([stem, *halvings])
        self.stages = nn.ModuleList(Stage(level, config, modulated) for level in levels)
        self.norm = ImageNorm()
        self.activation = ACTIVATIONS[config.activation]()

    def forward(self, inputs: Tensor, context: Context | None) -> tuple[Tensor, ...]:
        """``inputs [B, C, H, W]`` to maps ``[B, *shape]`` of each level, the finest first.

        The coarsest, which nothing follows, are normed and have their nonlinearity.
        """
        features, maps = fold(inputs), []
        for down, stage in zip(self.down, self.stages, strict=True):
            features = stage(down(features), context)
            maps.append(features)
        return (*maps[:-1], self.activation(self.norm(maps[-1])))


class ResNetDecoder(Decoder):
    """A stem, then residual stages with pixel-shuffle convolutions between."""

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
        self.sides, cell, conv = tuple(sides), 2 ** len(sides), convolution_along(sides)
        self.levels = upwards(pyramid(config, *sides), latents)
        self.stem = build_stem(config, latents, self.levels[0], given, nn.Identity())
        self.activation = ACTIVATIONS[config.activation]()
        self.stages = nn.ModuleList(Stage(level, config, modulated) for level in self.levels)
        self.up = nn.ModuleList(
            conv(a.channels, cell * b.channels, 3, padding=1)
            for a, b in itertools.pairwise(self.levels)
        )
        self.norm = ImageNorm()
        maps = channels * maps_per_channel
        self.out = conv(self.levels[-1].channels, cell * maps, 3, padding=1, bias=False)
        self.offset = nn.Parameter(zeros(maps, *sides))

    @no_grad()
    def initialize_output(self, parameters: Tensor) -> None:
        """Let every output begin near ``parameters [P, H, W]``."""
        self.offset.copy_(parameters)

    def forward(self, z: Tensor, context: Context | None) -> Tensor:
        """``z [B, *Z]`` to ``[B, P, H, W]``."""
        features = self.stages[0](self.stem(z, context), context)
        for up, stage, level in zip(self.up, self.stages[1:], self.levels[1:], strict=True):
            features = stage(unfold(up(features), *level.sides), context)
        out: Tensor = self.out(self.activation(self.norm(features)))
        return unfold(out, *self.sides) + self.offset
