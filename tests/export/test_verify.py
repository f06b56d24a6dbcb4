"""A file that does not do what the model does is found out."""

# torch leaves functions untyped
# mypy: disable-error-code="no-untyped-call"

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic

from distvae.config import ModelConfig
from distvae.draws.normals import standard_normal
from distvae.errors import DistvaeError
from distvae.export.convert import (
    decoder_graph,
    described,
    encoder_graph,
    manifest_of,
    write_graph,
)
from distvae.export.parity import MOST, TOLERANCE, Exact, limit, on_device, torch_means
from distvae.export.turns import NOISES, Given, given_in
from distvae.export.verify import verify
from distvae.export.verify_scores import expected_scores
from distvae.models import build_model
from tests.export.test_convert import ORIGIN
from tests.test_models import TABLE, build


def shift_one_weight(proto: onnx.ModelProto, by: float) -> None:
    """Change one number of the widest table of weights."""
    weights = [numpy_helper.to_array(tensor) for tensor in proto.graph.initializer]
    place = max(range(len(weights)), key=lambda at: weights[at].size)
    changed = weights[place].copy()
    changed.flat[0] += by
    name = proto.graph.initializer[place].name
    proto.graph.initializer[place].CopyFrom(numpy_helper.from_array(changed, name))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("graph", "words"),
    [
        (decoder_graph, ("does not draw what the model draws", "pixel", "of label", "in torch")),
        (encoder_graph, ("does not encode as the model does", "of image", "in torch")),
    ],
)
def test_a_wrong_weight_is_found_and_named(
    graph: Callable[..., onnx.ModelProto], words: tuple[str, ...], tmp_path: Path
) -> None:
    model = build(TABLE[1])
    path = tmp_path / "file.onnx"
    proto = graph(model, ORIGIN)
    write_graph(proto, path)
    assert verify(path, model).error <= TOLERANCE
    shift_one_weight(proto, 0.5)
    write_graph(proto, path)
    with pytest.raises(DistvaeError) as caught:
        verify(path, model)
    for word in (str(path), "at most 1e-05", *words):
        assert word in str(caught.value)
    assert [entry.name for entry in tmp_path.iterdir()] == ["file.onnx"]


@pytest.mark.slow
def test_a_file_of_other_weights_is_refused(tmp_path: Path) -> None:
    model = build(TABLE[1])
    path = tmp_path / "decoder.onnx"
    write_graph(decoder_graph(model, ORIGIN), path)
    with torch.no_grad():
        next(model.parameters()).add_(1e-3)
    with pytest.raises(DistvaeError, match="was not made from these weights"):
        verify(path, model)


@pytest.mark.slow
def test_an_image_that_depends_on_its_batch_is_found(tmp_path: Path) -> None:
    model = build(TABLE[1])
    path, changed = tmp_path / "decoder.onnx", tmp_path / "changed.onnx"
    proto = decoder_graph(model, ORIGIN)
    manifest = replace(manifest_of(proto), precision="int8")
    write_graph(proto, path)
    quantize_dynamic(path, changed, weight_type=QuantType.QInt8)  # ranges found in each run
    changed.write_bytes(described(onnx.load(str(changed)), manifest).SerializeToString())
    with pytest.raises(DistvaeError, match=r"another image for noise \d+ in a batch of 1:"):
        verify(changed, model)


@pytest.mark.slow
def test_numbers_that_are_none_are_found(tmp_path: Path) -> None:
    model = build(TABLE[1])
    with torch.no_grad():
        for parameter in model.decoder.parameters():
            parameter.fill_(float("nan"))
    path = tmp_path / "decoder.onnx"
    write_graph(decoder_graph(model, ORIGIN), path)
    with pytest.raises(DistvaeError, match="does not draw what the model draws"):
        verify(path, model)


@pytest.mark.slow
def test_rounding_that_a_graph_amplifies_is_no_error_and_a_weight_that_is_off_is(
    tmp_path: Path,
) -> None:
    """Features far from 0, of which the head takes that away again: hardly a digit is left."""
    model, far = build(TABLE[0]), 200.0
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        parameters["encoder.layers.dense.1.bias"].add_(far)
        head = parameters["latents.to_posterior.weight"]
        parameters["latents.to_posterior.bias"].sub_(far * head.sum(1))
    path = tmp_path / "encoder.onnx"
    proto = encoder_graph(model, ORIGIN)
    write_graph(proto, path)
    off = verify(path, model).error
    assert TOLERANCE < off < MOST
    shift_one_weight(proto, 0.02)
    write_graph(proto, path)
    with pytest.raises(DistvaeError, match="does not encode as the model does"):
        verify(path, model)


def test_a_model_in_float64_tells_how_far_float32_is_off() -> None:
    for row in (TABLE[13], TABLE[19], TABLE[24]):
        model = build(row).eval()
        noise, given = standard_normal(0, 0, NOISES, model.latents.noise_dim), given_in(model, 0)
        means, exact = torch_means(model, noise, given), Exact(model)
        assert exact.means(noise, given).dtype == np.float64
        assert 0 < np.abs(exact.means(noise, given) - means).max() < TOLERANCE
        inputs = model.domain.to_expected_input(model.domain.to_stored(torch.from_numpy(means)))
        with torch.no_grad():
            expected = model.posteriors(*on_device(model, inputs, given))
        mean, log_variance, *_ = exact.posteriors(inputs, given)
        assert mean.dtype == log_variance.dtype == np.float64
        assert 0 < np.abs(expected[0].mean.detach().numpy() - mean).max() < TOLERANCE
    assert limit(np.zeros(3)) == limit(np.full(3, np.nan)) == TOLERANCE
    assert limit(np.full(3, 1.0)) == MOST


def test_a_score_may_be_off_by_what_the_encoders_tolerance_makes_of_it() -> None:
    """-log N(z; m, s^2) has the slope (z - m) / s^2: a narrow component amplifies it."""
    torch.manual_seed(0)
    config = ModelConfig(
        model="vae", prior="mixture", prior_components=1, hidden=(8,), latent_dim=2
    )
    model = build_model(config, (1, 5, 5), ()).eval()
    stored = torch.from_numpy(model.domain.made_up(0, NOISES))
    parameters = dict(model.named_parameters())
    limits = []
    with torch.no_grad():
        z = model.means(model.domain.to_expected_input(stored))[0]
        for log_variance in (0.0, -7.0):
            parameters["latents.prior.log_variances"].fill_(log_variance)
            parameters["latents.prior.means"].copy_(z.mean(0, keepdim=True) + 0.1)
            limits.append(expected_scores(model, stored, Given(None, (), ()))[1])
    wide, narrow = limits
    assert wide == [TOLERANCE] * 3
    assert narrow[0] == TOLERANCE  # the distortion knows no prior
    assert 2 * TOLERANCE < narrow[1] <= MOST
