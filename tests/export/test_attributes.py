"""Graphs that take several attributes: an input each, by name, and what is not known."""

from pathlib import Path

import numpy as np
import pytest
import torch

from distvae.attributes import Attribute
from distvae.config import ModelConfig
from distvae.errors import DistvaeError
from distvae.export.convert import Origin, decoder_graph, encoder_graph, write_graph
from distvae.export.encoder import Encoder
from distvae.export.parity import TOLERANCE
from distvae.export.sampler import Sampler
from distvae.export.session import read_manifest
from distvae.export.verify import verify
from distvae.models import VAE, build_model

PLACE = Attribute("place", ("left", "right"), missing=True)
COLOUR = Attribute("noise", ("red", "green", "blue"))
LIGHT = Attribute("light", mean=0.5, scale=0.25, missing=True)
SHAPE = (3, 4, 4)
ORIGIN = Origin({}, {"source": "none", "fingerprint": "none"})
ASKED = {"place": ["left", None, "right"], "noise": ["blue", "red", 1], "light": [0.3, None, -2.0]}


def random_model(prior: str, conditioning: str) -> VAE:
    torch.manual_seed(0)
    config = ModelConfig(
        hidden=(8,),
        latent_dim=2,
        flow_layers=2,
        flow_width=8,
        prior=prior,
        conditioning=conditioning,
    )
    model = build_model(config, SHAPE, (), attributes=(PLACE, COLOUR, LIGHT)).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model


@pytest.mark.parametrize(("prior", "conditioning"), [("label", "modulate"), ("flow", "concat")])
def test_graphs_compute_what_the_model_does(prior: str, conditioning: str, tmp_path: Path) -> None:
    model = random_model(prior, conditioning)
    decoder, encoder = tmp_path / "decoder.onnx", tmp_path / "encoder.onnx"
    write_graph(decoder_graph(model, ORIGIN), decoder)
    write_graph(encoder_graph(model, ORIGIN), encoder)
    assert verify(decoder, model).error < TOLERANCE
    assert verify(encoder, model).error < TOLERANCE
    manifest = read_manifest(decoder)
    assert manifest.attributes == (PLACE, COLOUR, LIGHT)
    assert manifest.given == {"place": "int64", "attribute_noise": "int64", "light": "float32"}
    sampler = Sampler(decoder)
    drawn = sampler.sample(labels=ASKED, count=2, seed=3)
    expected = model.sample(labels=ASKED, n=2, seed=3).numpy()
    np.testing.assert_allclose(drawn / 255, expected, atol=0.51 / 255)
    parts = np.concatenate(list(sampler.stream(ASKED, 2, 3, batch=4)))
    np.testing.assert_array_equal(parts, drawn)
    in_turn = sampler.sample(count=7)
    np.testing.assert_allclose(in_turn / 255, model.sample(n=7).numpy(), atol=0.51 / 255)
    images = np.random.default_rng(0).integers(0, 256, (3, *SHAPE), dtype=np.uint8)
    found = Encoder(encoder).encode(images, ASKED)
    posterior = model.encode(torch.from_numpy(images / np.float32(255)), ASKED)
    np.testing.assert_allclose(found.mean, posterior.mean.detach().numpy(), atol=1e-5)


def test_values_that_there_are_not_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "decoder.onnx"
    write_graph(decoder_graph(random_model("normal", "modulate"), ORIGIN), path)
    sampler = Sampler(path)
    for labels, message in (
        ("left", r"takes them by name.*'place': \.\.\."),
        ({"place": "up", "noise": 0}, "label up is not in this model"),
        ({"place": "left"}, "attribute noise is missing"),
        ({"noise": 0, "light": "bright"}, "expected a finite number"),
        ({"noise": 0, "size": 1}, "attribute size is not in this model"),
    ):
        with pytest.raises(DistvaeError, match=message):
            sampler.sample(labels=labels)
    noise = np.zeros((1, 2), np.float32)
    session = sampler._graph.session

    def run(place: int, colour: int) -> None:
        inputs = {"place": np.array([place]), "attribute_noise": np.array([colour])}
        session.run(None, {"noise": noise, "light": np.array([np.nan], np.float32), **inputs})

    run(-1, 2)
    for place, colour in ((2, 0), (-2, 0), (0, 3), (0, -1)):
        with pytest.raises(Exception, match="out of"):
            run(place, colour)


def test_attributes_may_be_called_as_tensors_of_the_graph_are(tmp_path: Path) -> None:
    def built(*names: str) -> VAE:
        torch.manual_seed(0)
        attributes = [Attribute(name, ("x", "y"), missing=True) for name in names]
        config = ModelConfig(hidden=(8,), latent_dim=2)
        return build_model(config, SHAPE, (), attributes=attributes).eval()

    graph = decoder_graph(built("a", "b", "c"), ORIGIN).graph
    of_weights, of_values = graph.initializer[0].name, graph.node[-3].output[0]
    for names in (
        (of_weights, of_values, "inner." + of_values),
        ("noise", "attribute_noise", "mean.z1"),
        ("a=b", "größe: 1/2", " x "),
    ):
        model, path = built(*names), tmp_path / "decoder.onnx"
        write_graph(decoder_graph(model, ORIGIN), path)
        assert verify(path, model).error < TOLERANCE
        sampler = Sampler(path)
        assert [each.name for each in sampler.attributes] == list(names)
        asked = dict(zip(names, ["y", None, "x"], strict=True))
        drawn, expected = sampler.sample(labels=asked), model.sample(labels=asked).numpy()
        np.testing.assert_allclose(drawn / 255, expected, atol=0.51 / 255)
