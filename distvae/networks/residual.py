"""Residual encoders and decoders: stages of blocks with changes of resolution between.

Legend: B batch, C channels, H height, W width (of volumes also a depth), Z axes of the latents, P
parameter maps.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from distvae.conditions import Context, ContextShape
from distvae.config import ModelConfig
from distvae.networks.attention import PlaceAttention
from distvae.networks.base import Decoder, Encoder
from distvae.networks.downscaling import again
from distvae.networks.layers import (
    ACTIVATIONS,
    ImageNorm,
    Modulation,
    concatenated_or_modulated,
    convolution_along,
)
from distvae.networks.pyramid import (
    Level,
    downward,
    fold,
    fold_even,
    unfold,
    unfold_even,
    unfolding,
    upward,
)
from distvae.networks.stems import build_stem

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


class ResidualEncoder(Encoder):
    """Folded example, residual stages with strided convolutions between.

    Args:
        config: of the model.
        channels: of an example.
        levels: of the maps, the finest first.
        given: what contexts hold.
        attention: whether every place of the smallest maps sees all others.
        checkpointing: whether the maps inside a stage are computed again for the gradients.
    """

    any_size: bool = False
    """Whether it takes examples of other sizes too; their sides are even then at every level."""

    def __init__(
        self,
        config: ModelConfig,
        channels: int,
        levels: Sequence[Level],
        given: ContextShape,
        attention: bool = False,
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        _, modulated = concatenated_or_modulated(config, given)
        self.shapes = tuple(level.shape for level in levels)
        self.down = nn.ModuleList(downward(channels, levels))
        self.stages = nn.ModuleList(Stage(level, config, modulated) for level in levels)
        self.attention = PlaceAttention(levels[-1]) if attention else None
        self.norm = ImageNorm()
        self.activation = ACTIVATIONS[config.activation]()
        self.checkpointing = checkpointing

    def forward(self, inputs: Tensor, context: Context | None) -> tuple[Tensor, ...]:
        """``inputs [B, C, H, W]`` to maps ``[B, *shape]`` of each level, the finest first.

        The coarsest, which nothing follows, are normed and have their nonlinearity.
        """
        features, maps = fold_even(inputs) if self.any_size else fold(inputs), []
        for down, stage in zip(self.down, self.stages, strict=True):
            features = again(self.checkpointing, stage, down(features), context)
            maps.append(features)
        if self.attention is not None:
            features = self.attention(features)
        return (*maps[:-1], self.activation(self.norm(features)))


class ResidualDecoder(Decoder):
    """A stem, then residual stages with pixel-shuffle convolutions between.

    Args:
        config: of the model.
        maps: P times the channels of an example.
        sides: of an example.
        levels: of the maps, the coarsest first.
        latents: Z.
        given: what contexts hold.
        bias: whether the last convolution has one.
        attention: whether every place of the smallest maps sees all others.
        checkpointing: whether the maps inside a stage are computed again for the gradients.
    """

    any_size: bool = False
    """As of the encoder."""

    def __init__(
        self,
        config: ModelConfig,
        maps: int,
        sides: Sequence[int],
        levels: Sequence[Level],
        latents: tuple[int, ...],
        given: ContextShape,
        bias: bool,
        attention: bool = False,
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        _, modulated = concatenated_or_modulated(config, given)
        self.sides = [*(level.sides for level in levels[1:]), tuple(sides)]
        self.stem = build_stem(config, latents, levels[0], given, nn.Identity())
        self.attention = PlaceAttention(levels[0]) if attention else None
        self.activation = ACTIVATIONS[config.activation]()
        self.stages = nn.ModuleList(Stage(level, config, modulated) for level in levels)
        self.up = nn.ModuleList(upward(levels))
        self.norm = ImageNorm()
        self.out = unfolding(levels[-1], maps, bias)
        self.checkpointing = checkpointing

    def forward(self, z: Tensor, context: Context | None) -> Tensor:
        """``z [B, *Z]`` to ``[B, P, H, W]``."""
        features: Tensor = self.stem(z, context)
        if self.attention is not None:
            features = self.attention(features)
        for stage, up, sides in zip(self.stages, [*self.up, None], self.sides, strict=True):
            features = again(self.checkpointing, stage, features, context)
            folded = self.out(self.activation(self.norm(features))) if up is None else up(features)
            features = unfold_even(folded) if self.any_size else unfold(folded, *sides)
        return features
