"""Encoders of latent spaces that are not one vector: the posterior of each level, by name."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from distvae.config import ModelConfig
from distvae.errors import DistvaeError
from distvae.export.bundle import Row, write_bundle
from distvae.export.convert import Origin, decoder_graph, encoder_graph, score_graph, write_graph
from distvae.export.encoder import Encoder
from distvae.export.manifest import KEY
from distvae.export.parity import TOLERANCE
from distvae.export.quantize import half, integer
from distvae.export.sampler import Sampler
from distvae.export.session import read_manifest
from distvae.export.verify import verify
from distvae.latents import LATENTS
from distvae.models import VAE, build_model
from tests.spaces import OTHER_SPACES, TOP, Maps, TwoLevels

BELOW = 3
ORIGIN = Origin({}, {"source": "none", "fingerprint": "none"})


def random_model(space: Any, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> VAE:
    monkeypatch.setitem(LATENTS, "gaussian", space)
    torch.manual_seed(0)
    usual = {"model": "vae", "hidden": (8,), "latent_dim": BELOW, "prior": "normal"}
    config = ModelConfig(**{**usual, **changes})
    model = build_model(config, (1, 16, 16), ("dark", "bright")).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model


def test_each_level_is_an_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = random_model(TwoLevels, monkeypatch)
    decoder, path = tmp_path / "decoder.onnx", tmp_path / "encoder.onnx"
    proto = encoder_graph(model, ORIGIN)
    write_graph(decoder_graph(model, ORIGIN), decoder)
    write_graph(proto, path)
    assert verify(decoder, model).error < TOLERANCE
    found = verify(path, model)
    assert found.error < TOLERANCE
    assert found.images == 256
    names = ["mean.z2", "log_variance.z2", "mean.z1", "log_variance.z1"]
    assert [output.name for output in proto.graph.output] == names
    levels = read_manifest(path).levels
    assert [(level.name, level.shape) for level in levels] == [("z2", (TOP,)), ("z1", (BELOW,))]

    images = np.random.default_rng(0).integers(0, 256, (5, 1, 16, 16), dtype=np.uint8)
    encoder = Encoder(path)
    posteriors = encoder.encode_levels(images)
    space = model.latents
    assert isinstance(space, TwoLevels)
    with torch.no_grad():  # z1 is inferred given the mean of z2
        (features,) = model.encoder(torch.from_numpy(images / np.float32(255)), None)
        upper = space.upper(features)
        lower = space.lower(torch.cat([features, upper[:, :TOP]], 1))
    for name, parameters in (("z2", upper), ("z1", lower)):
        expected = np.split(parameters.numpy(), 2, axis=1)
        np.testing.assert_allclose(posteriors[name].mean, expected[0], atol=1e-5)
        np.testing.assert_allclose(posteriors[name].log_variance, expected[1], atol=1e-5)
    with pytest.raises(DistvaeError, match=r"levels z2, z1.*\n?.*encode_levels"):
        encoder.encode(images)

    parity = verify(path, model)
    rows = [Row(decoder.name, 1, verify(decoder, model), 1.0), Row(path.name, 1, parity)]
    write_bundle(tmp_path, rows, tmp_path, page=False)
    readme = (tmp_path / "README.md").read_text()
    assert "| output `mean.z2`, `log_variance.z2` | float32 `[batch, 2]` |" in readme
    assert "`[batch, 3]` | the posterior of level z1 of the latents, given the means" in readme

    write_graph(encoder_graph(model, ORIGIN, noise=True), path)
    verify(path, model)
    with torch.no_grad():
        latents = space.draw(torch.from_numpy(Encoder(path).noise(images)), None)
    for name, z in zip(("z2", "z1"), latents, strict=True):
        np.testing.assert_allclose(z.numpy(), posteriors[name].mean, atol=1e-4)

    _moved(proto, path, "latents.lower.bias")
    with pytest.raises(DistvaeError, match=r"not encode as the model does: mean\.z1 2 of image"):
        verify(path, model)


def _moved(proto: onnx.ModelProto, path: Path, name: str) -> None:
    """Write a graph whose lower level is off in its last mean."""
    (tensor,) = [one for one in proto.graph.initializer if one.name.endswith(name)]
    values = onnx.numpy_helper.to_array(tensor).copy()
    values[BELOW - 1] += 0.5
    tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    write_graph(proto, path)


def test_smaller_numbers_leave_the_layers_of_the_latents(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = random_model(TwoLevels, monkeypatch)
    proto = encoder_graph(model, ORIGIN)
    feeds = [
        {"image": np.random.default_rng(seed).integers(0, 256, (8, 1, 16, 16), dtype=np.uint8)}
        for seed in range(4)
    ]
    for smaller in (half(proto), integer(proto, feeds)):
        path = tmp_path / "encoder.onnx"
        write_graph(smaller, path)
        assert 0 < verify(path, model).error < 0.1
    floats = {one.name for one in smaller.graph.initializer if one.data_type == 1 and one.dims}
    assert {"upper", "lower"} <= {part for name in floats for part in name.split(".")}


def test_maps_keep_their_shape_and_take_labels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = random_model(Maps, monkeypatch, model="cvae", network="conv", width=0.1)
    path, decoder = tmp_path / "encoder.onnx", tmp_path / "decoder.onnx"
    write_graph(encoder_graph(model, ORIGIN), path)
    write_graph(decoder_graph(model, ORIGIN), decoder)
    assert verify(path, model).error < TOLERANCE
    drawn = Sampler(decoder).sample(labels=["bright"], count=3, seed=1)
    found = Encoder(path).encode(drawn, "bright")
    expected = model.encode(torch.from_numpy(drawn / np.float32(255)), "bright").mean.detach()
    assert found.mean.shape == found.log_variance.shape == (3, 2, 4, 4)
    np.testing.assert_allclose(found.mean, expected, atol=1e-5)


@pytest.mark.parametrize("space", OTHER_SPACES)
def test_every_space_is_exported(tmp_path: Path, space: str) -> None:
    torch.manual_seed(0)
    config = ModelConfig(**OTHER_SPACES[space], latent_space=space, latent_dim=BELOW)
    model = build_model(config, (1, 16, 16), ("dark", "bright")).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    decoder, encoder = tmp_path / "decoder.onnx", tmp_path / "encoder.onnx"
    write_graph(decoder_graph(model, ORIGIN), decoder)
    write_graph(encoder_graph(model, ORIGIN, noise=True), encoder)
    write_graph(score_graph(model, ORIGIN), tmp_path / "score.onnx")
    for path in tmp_path.glob("*.onnx"):
        assert verify(path, model).error < TOLERANCE
    drawn = Sampler(decoder).sample(labels=["bright"], count=3, seed=1)
    expected = model.domain.to_stored(model.sample("bright", n=3, seed=1).detach())
    assert np.abs(drawn.astype(int) - expected.numpy()).max() <= 1


def test_two_levels_of_one_name_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proto = encoder_graph(random_model(TwoLevels, monkeypatch), ORIGIN)
    (entry,) = [one for one in proto.metadata_props if one.key == KEY]
    entry.value = entry.value.replace('"z2"', '"z1"')
    path = tmp_path / "encoder.onnx"
    path.write_bytes(proto.SerializeToString())
    with pytest.raises(DistvaeError, match="two of levels have the same name"):
        read_manifest(path)
