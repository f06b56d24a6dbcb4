"""The noise that an encoder gives is what the decoder draws the image from again."""

from pathlib import Path

import numpy as np
import pytest
import torch

from distvae.config import ModelConfig
from distvae.errors import DistvaeError
from distvae.export.convert import Origin, decoder_graph, encoder_graph, write_graph
from distvae.export.encoder import Encoder
from distvae.export.sampler import Sampler
from distvae.export.verify import verify
from distvae.models import VAE, build_model

ORIGIN = Origin({}, {"source": "none", "fingerprint": "none"})
COUNT = 30


def random_model(prior: str, posterior: str = "gaussian") -> VAE:
    torch.manual_seed(0)
    config = ModelConfig(
        hidden=(16,), latent_dim=4, prior=prior, posterior=posterior, flow_layers=2, flow_width=8
    )
    model = build_model(config, (1, 8, 8), ("a", "b", "c")).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model


@pytest.mark.parametrize(
    ("prior", "posterior"),
    [("label", "gaussian"), ("vamp", "gaussian"), ("flow", "flow")],
)
def test_two_files_reconstruct_without_torch(prior: str, posterior: str, tmp_path: Path) -> None:
    model = random_model(prior, posterior)
    write_graph(decoder_graph(model, ORIGIN), tmp_path / "decoder.onnx")
    write_graph(encoder_graph(model, ORIGIN, noise=True), tmp_path / "encoder.onnx")
    verify(tmp_path / "encoder.onnx", model)
    images = np.random.default_rng(0).integers(0, 256, (COUNT, 1, 8, 8), np.uint8)
    labels = np.arange(COUNT) % 3
    noise = Encoder(tmp_path / "encoder.onnx").noise(images, labels)
    assert noise.shape == (COUNT, model.latents.noise_dim)
    found = Sampler(tmp_path / "decoder.onnx").decode(noise, labels)
    with torch.no_grad():
        mean = model.encode(torch.from_numpy(images) / 255, labels).mean
        expected = model.decode(mean, labels).numpy()
    assert np.ptp(expected) > 0.3
    np.testing.assert_allclose(found / 255, expected, atol=0.51 / 255)


def test_a_file_without_the_noise_says_so_and_a_wrong_one_is_found(tmp_path: Path) -> None:
    model = random_model("label")
    path = tmp_path / "encoder.onnx"
    write_graph(encoder_graph(model, ORIGIN), path)
    images = np.zeros((1, 1, 8, 8), np.uint8)
    encoder = Encoder(path)
    assert encoder.encode(images, 0).mean.shape == (1, 4)
    with pytest.raises(DistvaeError, match="does not give the noise of an image"):
        encoder.noise(images, 0)
    proto = encoder_graph(model, ORIGIN, noise=True)
    (table,) = [one for one in proto.graph.initializer if one.name.endswith("prior.whitening")]
    table.raw_data = (2 * np.frombuffer(table.raw_data, np.float32)).tobytes()
    write_graph(proto, path)
    with pytest.raises(DistvaeError, match="noise that the model does not turn into"):
        verify(path, model)
