"""A residual network of convolutions alone, for images and volumes of any size.

No norm and no parameter goes over space: what a place becomes depends on the places within the
receptive field, and on nothing else, so that a large image may be taken in tiles.

Legend: B batch, C channels, H height, W width, Z axes of the latents, P parameter maps, F the
factor by which maps are smaller than the image.
"""

import itertools
from dataclasses import dataclass

from torch import Tensor, nn, no_grad

from distvae.conditions import Context, ContextShape
from distvae.config import ModelConfig
from distvae.networks.attention import PlaceAttention
from distvae.networks.base import Decoder, Encoder
from distvae.networks.downscaling import AnySizePart, again, downscaled
from distvae.networks.layers import (
    ACTIVATIONS,
    ImageNorm,
    concatenated_or_modulated,
    convolution_along,
)
from distvae.networks.pyramid import Level, fold_even, sides_of, unfold_even, upwards
from distvae.networks.resnet import BLOCKS_PER_LEVEL, Stage
from distvae.networks.stems import build_stem
from distvae.parts import GRID, Need, Trait

CONVOLUTIONS = 2 * BLOCKS_PER_LEVEL
"""Of 3x3 in a stage, each of which sees one place further on either side."""


@dataclass(frozen=True)
class FcnPart(AnySizePart):
    """Residual convolutions, for images of any size: nothing in them goes over a whole image."""

    name = "fcn"
    builds = ("FcnEncoder", "FcnDecoder")
    needs = (
        GRID,
        Need("latent_space", Trait("places"), "its maps have no end to make a vector of"),
    )
    usual = True

    attention: bool = False
    """Let every place of the smallest maps see all others, after which tiles of an image are no
    longer exactly what they are in the whole."""


class FcnEncoder(Encoder):
    """Folded image, residual stages with strided convolutions between."""

    def __init__(self, config: ModelConfig, shape: tuple[int, ...], given: ContextShape) -> None:
        super().__init__()
        own = config.of(FcnPart)
        _, modulated = concatenated_or_modulated(config, given)
        channels, *sides = sides_of(shape)
        levels, conv = downscaled(config, sides, own.downscale), convolution_along(sides)
        self.shapes = tuple(level.shape for level in levels)
        stem = conv(2 ** len(sides) * channels, levels[0].channels, 3, padding=1)
        halvings = [
            conv(a.channels, b.channels, 3, stride=2, padding=1)
            for a, b in itertools.pairwise(levels)
        ]
        self.down = nn.ModuleList([stem, *halvings])
        self.stages = nn.ModuleList(Stage(level, config, modulated) for level in levels)
        self.attention = PlaceAttention(levels[-1]) if own.attention else None
        self.norm = ImageNorm()
        self.activation = ACTIVATIONS[config.activation]()
        self.checkpointing = own.gradient_checkpointing
        jumps = _jumps(levels)
        reach = jumps[0] + sum(jumps[:-1]) + CONVOLUTIONS * sum(jumps)
        self.reach = None if own.attention else reach

    def forward(self, inputs: Tensor, context: Context | None) -> tuple[Tensor, ...]:
        """``inputs [B, C, H, W]`` to maps ``[B, *shape]`` of each resolution, the finest first."""
        features, maps = fold_even(inputs), []
        for down, stage in zip(self.down, self.stages, strict=True):
            features = again(self.checkpointing, stage, down(features), context)
            maps.append(features)
        if self.attention is not None:
            features = self.attention(features)
        return (*maps[:-1], self.activation(self.norm(features)))


class FcnDecoder(Decoder):
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
        own = config.of(FcnPart)
        _, modulated = concatenated_or_modulated(config, given)
        channels, *sides = sides_of(shape)
        levels = upwards(downscaled(config, sides, own.downscale), latents)
        cell, conv = 2 ** len(sides), convolution_along(sides)
        self.stem = build_stem(config, latents, levels[0], given, nn.Identity())
        self.attention = PlaceAttention(levels[0]) if own.attention else None
        self.activation = ACTIVATIONS[config.activation]()
        self.stages = nn.ModuleList(Stage(level, config, modulated) for level in levels)
        self.up = nn.ModuleList(
            conv(a.channels, cell * b.channels, 3, padding=1) for a, b in itertools.pairwise(levels)
        )
        self.norm = ImageNorm()
        maps = cell * channels * maps_per_channel
        self.out = conv(levels[-1].channels, maps, 3, padding=1)
        self.checkpointing = own.gradient_checkpointing
        jumps = _jumps(levels)
        reach = jumps[0] + sum(jumps[1:]) + jumps[-1] + CONVOLUTIONS * sum(jumps)
        self.reach = None if own.attention else reach

    @no_grad()
    def initialize_output(self, parameters: Tensor) -> None:
        """Let every output begin near the mean over the places of ``parameters [P, H, W]``."""
        assert self.out.bias is not None
        means = parameters.flatten(1).mean(1)
        self.out.bias.copy_(means.repeat_interleave(len(self.out.bias) // len(means)))

    def forward(self, z: Tensor, context: Context | None) -> Tensor:
        """``z [B, *Z]`` to ``[B, P, F * H, F * W]``."""
        features = self.stem(z, context)
        if self.attention is not None:
            features = self.attention(features)
        features = again(self.checkpointing, self.stages[0], features, context)
        for up, stage in zip(self.up, self.stages[1:], strict=True):
            features = unfold_even(up(features))
            features = again(self.checkpointing, stage, features, context)
        out: Tensor = self.out(self.activation(self.norm(features)))
        return unfold_even(out)


def _jumps(levels: list[Level]) -> list[int]:
    """Pixels between two places of each resolution, the finest first."""
    return [2**number for number in range(1, len(levels) + 1)]
