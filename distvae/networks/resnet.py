"""Residual convolutional encoder and decoder.

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
)
from distvae.networks.pyramid import Level, fold, pyramid, sides_of, unfold, upwards
from distvae.networks.stems import build_stem
from distvae.parts import SIDES, Part

BLOCKS_PER_LEVEL = 2


class ResidualBlock(nn.Module):
    """``h + conv(act(mod(norm(conv(act(norm(h)))))))``; the last convolution begins at zero.

    He et al. 2016 (arXiv:1603.05027), with label modulation between the convolutions and layer
    normalization over channels, which, unlike batch statistics, gives one image the same result
    in every batch and on every number of processes.
    """

    def __init__(self, channels: int, config: ModelConfig, given: ContextShape) -> None:
        super().__init__()
        self.norm = ImageNorm()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.modulation = Modulation(given, channels)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
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
            ResidualBlock(level.channels, config, given) for _ in range(BLOCKS_PER_LEVEL)
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
    needs = (SIDES,)
    traits = ("maps",)


class ResNetEncoder(Encoder):
    """Folded image, residual stages with strided convolutions between."""

    def __init__(self, config: ModelConfig, shape: tuple[int, ...], given: ContextShape) -> None:
        super().__init__()
        _, modulated = concatenated_or_modulated(config, given)
        channels, height, width = sides_of(shape)
        levels = pyramid(config, height, width)
        self.shapes = tuple(level.shape for level in levels)
        stem = nn.Conv2d(4 * channels, levels[0].channels, 3, padding=1)
        halvings = [
            nn.Conv2d(a.channels, b.channels, 3, stride=2, padding=1)
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
        channels, self.height, self.width = sides_of(shape)
        self.levels = upwards(pyramid(config, self.height, self.width), latents)
        self.stem = build_stem(config, latents, self.levels[0], given, nn.Identity())
        self.activation = ACTIVATIONS[config.activation]()
        self.stages = nn.ModuleList(Stage(level, config, modulated) for level in self.levels)
        self.up = nn.ModuleList(
            nn.Conv2d(a.channels, 4 * b.channels, 3, padding=1)
            for a, b in itertools.pairwise(self.levels)
        )
        self.norm = ImageNorm()
        maps = 4 * channels * maps_per_channel
        self.out = nn.Conv2d(self.levels[-1].channels, maps, 3, padding=1, bias=False)
        self.offset = nn.Parameter(zeros(channels * maps_per_channel, self.height, self.width))

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
        return unfold(out, self.height, self.width) + self.offset
