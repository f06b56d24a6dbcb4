"""The autoencoder under Stable Diffusion: AutoencoderKL of the library diffusers, layer by layer.

Modules are named as there, so that weights go over as they are (:mod:`distvae.diffusers`).
Rombach et al. 2022 (arXiv:2112.10752), appendix G.

Legend: B batch, C channels, H height, W width, Z channels of the latents, P parameter maps, F the
factor by which the latents are smaller than the image.
"""

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from torch import Tensor, nn, no_grad

from distvae.conditions import Context, ContextShape
from distvae.config import ModelConfig
from distvae.distributions import full_precision, wide
from distvae.errors import DistvaeError
from distvae.networks.attention import attended
from distvae.networks.base import Decoder, Encoder
from distvae.networks.downscaling import (
    USUAL_CHANNELS,
    USUAL_FACTOR,
    AnySizePart,
    again,
)
from distvae.networks.layers import ACTIVATIONS, Modulation, scaled
from distvae.networks.pyramid import sides_of
from distvae.parts import SIDES, Need
from distvae.ranges import refuse_odd_sides
from distvae.values import Widths, Within

BASE = 128
MULTIPLES = {2: (1, 2), 4: (1, 2, 4), 8: (1, 2, 4, 4), 16: (1, 1, 2, 2, 4)}
"""Of the channels of each resolution, the finest first, by factor."""
MOST_GROUPS = 32
EPS = 1e-6


@dataclass(frozen=True)
class SdPart(AnySizePart):
    """The autoencoder under Stable Diffusion, in the layout of the library diffusers."""

    name = "sd"
    builds = ("SdEncoder", "SdDecoder")
    needs = (
        SIDES,
        Need("latent_space", ("spatial",), "its latents lie at every place"),
        Need("conditioning", ("modulate",), "its blocks are modulated by what is given"),
    )

    latent_channels: Annotated[int, Within(1, 2**10)] | None = None
    """Latents at every place; left out: 4."""
    block_channels: Widths | None = None
    """Channels of each resolution, the finest first, one more than halvings: `128,256,512,512`;
    left out: what --width and --downscale make of these."""
    block_layers: Annotated[int, Within(1, 2**6)] = 2
    """Residual blocks of a resolution; the decoder has one more."""


class Sizes:
    """Of both networks.

    Args:
        config: of the model.

    Raises:
        DistvaeError: two settings contradict each other.
    """

    def __init__(self, config: ModelConfig) -> None:
        own = config.of(SdPart)
        self.factor = own.downscale or USUAL_FACTOR
        base = scaled(BASE, config.width)
        self.channels = tuple(base * multiple for multiple in MULTIPLES[self.factor])
        if own.block_channels is not None:
            self.channels = own.block_channels
            self.factor = 2 ** (len(self.channels) - 1)
            if own.downscale not in (None, self.factor):
                raise DistvaeError(
                    f"--block-channels {','.join(map(str, self.channels))} does not fit "
                    f"--downscale {own.downscale}",
                    f"so many resolutions make an image {self.factor} times smaller",
                    "Leave --downscale out.",
                )
        self.groups = math.gcd(MOST_GROUPS, *self.channels)
        self.layers = own.block_layers
        self.latents = own.latent_channels or USUAL_CHANNELS
        self.activation = ACTIVATIONS[config.activation]
        self.checkpointing = own.gradient_checkpointing


class GroupNorm(nn.GroupNorm):
    """Taken in float32 also where the convolutions around it compute in less."""

    def forward(self, features: Tensor) -> Tensor:
        """``[B, C, H, W]``."""
        with full_precision(features.device.type):
            return super().forward(wide(features)).to(features.dtype)


class ResnetBlock(nn.Module):
    """Two convolutions beside the way through; what is given modulates between them."""

    def __init__(self, before: int, after: int, sizes: Sizes, given: ContextShape) -> None:
        super().__init__()
        self.norm1 = GroupNorm(sizes.groups, before, EPS)
        self.conv1 = nn.Conv2d(before, after, 3, padding=1)
        self.norm2 = GroupNorm(sizes.groups, after, EPS)
        self.modulation = Modulation(given, after)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1)
        self.conv_shortcut = nn.Conv2d(before, after, 1) if before != after else None
        self.activation = sizes.activation()

    def forward(self, features: Tensor, context: Context | None) -> Tensor:
        """``[B, before, H, W]`` to ``[B, after, H, W]``."""
        inner = self.conv1(self.activation(self.norm1(features)))
        inner = self.activation(self.modulation(self.norm2(inner), context))
        kept = features if self.conv_shortcut is None else self.conv_shortcut(features)
        out: Tensor = kept + self.conv2(inner)
        return out


class Attention(nn.Module):
    """Every place sees all others, by one head."""

    def __init__(self, channels: int, sizes: Sizes) -> None:
        super().__init__()
        self.group_norm = GroupNorm(sizes.groups, channels, EPS)
        self.to_q, self.to_k, self.to_v = (nn.Linear(channels, channels) for _ in range(3))
        self.to_out = nn.ModuleList([nn.Linear(channels, channels)])

    def forward(self, features: Tensor) -> Tensor:
        """``[B, C, H, W]``."""
        places = self.group_norm(features).permute(0, 2, 3, 1)
        maps = (layer(places).permute(0, 3, 1, 2) for layer in (self.to_q, self.to_k, self.to_v))
        found = self.to_out[0](attended(*maps).permute(0, 2, 3, 1))
        out: Tensor = features + found.permute(0, 3, 1, 2)
        return out


class Middle(nn.Module):
    """A block, attention, a block."""

    def __init__(self, channels: int, sizes: Sizes, given: ContextShape) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(
            ResnetBlock(channels, channels, sizes, given) for _ in range(2)
        )
        self.attentions = nn.ModuleList([Attention(channels, sizes)])
        self.checkpointing = sizes.checkpointing

    def forward(self, features: Tensor, context: Context | None) -> Tensor:
        """``[B, C, H, W]``."""
        features = again(self.checkpointing, self.resnets[0], features, context)
        features = self.attentions[0](features)
        return again(self.checkpointing, self.resnets[1], features, context)


class Halving(nn.Module):
    """A convolution with stride 2 that sees one more row and column on the right alone."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, features: Tensor) -> Tensor:
        """``[B, C, H, W]`` to ``[B, C, H / 2, W / 2]``."""
        out: Tensor = self.conv(nn.functional.pad(features, (0, 1, 0, 1)))
        return out


class Doubling(nn.Module):
    """Every pixel four times, then a convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        """``[B, C, H, W]`` to ``[B, C, 2 H, 2 W]``."""
        out: Tensor = self.conv(nn.functional.interpolate(features, scale_factor=2.0))
        return out


class Blocks(nn.Module):
    """Those of one resolution, and the way to the next; ``change`` names its module as there."""

    def __init__(
        self,
        pairs: list[tuple[int, int]],
        sizes: Sizes,
        given: ContextShape,
        change: Mapping[str, nn.Module],
    ) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(ResnetBlock(*pair, sizes, given) for pair in pairs)
        for name, layer in change.items():
            self.add_module(name, nn.ModuleList([layer]))
        self.change = [*change]
        self.checkpointing = sizes.checkpointing

    def forward(self, features: Tensor, context: Context | None) -> Tensor:
        """``[B, C, H, W]`` to maps of the next resolution."""
        for block in self.resnets:
            features = again(self.checkpointing, block, features, context)
        for name in self.change:
            features = self.get_submodule(name)[0](features)  # type: ignore[index]
        return features


class SdEncoder(Encoder):
    """To mean and log-variance of the latents, before the last 1x1 convolution of their space."""

    def __init__(self, config: ModelConfig, shape: tuple[int, ...], given: ContextShape) -> None:
        super().__init__()
        sizes = Sizes(config)
        colours, *sides = sides_of(shape)
        refuse_odd_sides(sides, sizes.factor)
        channels = sizes.channels
        self.shapes = ((2 * sizes.latents, *(side // sizes.factor for side in sides)),)
        self.conv_in = nn.Conv2d(colours, channels[0], 3, padding=1)
        self.down_blocks = nn.ModuleList(
            Blocks(
                [(before, after), *[(after, after)] * (sizes.layers - 1)],
                sizes,
                given,
                {"downsamplers": Halving(after)} if number + 1 < len(channels) else {},
            )
            for number, (before, after) in enumerate(itertools.pairwise([channels[0], *channels]))
        )
        self.mid_block = Middle(channels[-1], sizes, given)
        self.conv_norm_out = GroupNorm(sizes.groups, channels[-1], EPS)
        self.activation = sizes.activation()
        self.conv_out = nn.Conv2d(channels[-1], 2 * sizes.latents, 3, padding=1)

    def forward(self, inputs: Tensor, context: Context | None) -> tuple[Tensor, ...]:
        """``inputs [B, C, F * H, F * W]`` to one map ``[B, 2 Z, H, W]``."""
        features = self.conv_in(2.0 * inputs - 1.0)
        for blocks in self.down_blocks:
            features = blocks(features, context)
        features = self.mid_block(features, context)
        return (self.conv_out(self.activation(self.conv_norm_out(features))),)


class SdDecoder(Decoder):
    """From latents, with the 1x1 convolution that comes first."""

    def __init__(
        self,
        config: ModelConfig,
        shape: tuple[int, ...],
        given: ContextShape,
        maps_per_channel: int,
        latents: tuple[int, ...],
    ) -> None:
        super().__init__()
        sizes, (colours, *_) = Sizes(config), sides_of(shape)
        channels = sizes.channels[::-1]
        self.post_quant_conv = nn.Conv2d(latents[0], latents[0], 1)
        self.conv_in = nn.Conv2d(latents[0], channels[0], 3, padding=1)
        self.mid_block = Middle(channels[0], sizes, given)
        self.up_blocks = nn.ModuleList(
            Blocks(
                [(before, after), *[(after, after)] * sizes.layers],
                sizes,
                given,
                {"upsamplers": Doubling(after)} if number + 1 < len(channels) else {},
            )
            for number, (before, after) in enumerate(itertools.pairwise([channels[0], *channels]))
        )
        self.conv_norm_out = GroupNorm(sizes.groups, channels[-1], EPS)
        self.activation = sizes.activation()
        self.conv_out = nn.Conv2d(channels[-1], colours * maps_per_channel, 3, padding=1)

    @no_grad()
    def initialize_output(self, parameters: Tensor) -> None:
        """Let every output begin near the mean over the places of ``parameters [P, H, W]``."""
        assert self.conv_out.bias is not None
        self.conv_out.bias.copy_(2.0 * parameters.mean((1, 2)) - 1.0)

    def forward(self, z: Tensor, context: Context | None) -> Tensor:
        """``z [B, Z, H, W]`` to ``[B, P, F * H, F * W]``; 0 and 1 are -1 and 1 inside."""
        features = self.mid_block(self.conv_in(self.post_quant_conv(z)), context)
        for blocks in self.up_blocks:
            features = blocks(features, context)
        out: Tensor = self.conv_out(self.activation(self.conv_norm_out(features)))
        return 0.5 * out + 0.5
