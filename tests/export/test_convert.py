"""Every composition of parts as ONNX: what the graphs compute, refuse, say and do not say."""

# torch leaves functions untyped
# mypy: disable-error-code="no-untyped-call"

import functools
from pathlib import Path
from typing import Any, get_args, get_type_hints

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator

from distvae.conditions import Context
from distvae.declarations import with_trait
from distvae.export.convert import (
    MEAN,
    Origin,
    decoder_graph,
    encoder_graph,
    write_graph,
)
from distvae.export.manifest import KEY, parse_manifest
from distvae.export.parity import TOLERANCE
from distvae.export.sampler import Sampler
from distvae.export.tracing import IR_VERSION, OPSET
from distvae.export.turns import NOISES, rounds
from distvae.export.verify import verify
from distvae.latents import LATENTS as SPACES
from distvae.latents.gaussian import GaussianSpacePart
from distvae.likelihoods import LIKELIHOODS
from distvae.models import VAE
from distvae.networks import NETWORKS
from distvae.priors import PRIORS
from distvae.tensors import checksum
from tests.conftest import CHECKOUT
from tests.spaces import OTHER_SPACES, gaussian
from tests.test_models import TABLE, Row, build

ORIGIN = Origin({"beta": 1.5, "binarize": "none"}, {"source": "x", "fingerprint": "f"})
ODD = 9
"""A number of images that is no power of two."""
GRAPHS = {"decoder": decoder_graph, "encoder": encoder_graph}


EXPORTED = [TABLE[row] for row in (1, 3, 8, 10, 12, 14, 19, 21, 22, 23, 24)]
"""Rows in which every part occurs, with every network where the graph depends on both."""
exported_table = pytest.mark.parametrize("row", EXPORTED, ids=lambda row: "-".join(map(str, row)))


@functools.cache
def content(row: Row, graph: str, width: float | None) -> bytes:
    """What is exported once for all tests of a process."""
    found: bytes = GRAPHS[graph](build(row, width), ORIGIN).SerializeToString()
    return found


def exported(row: Row, graph: str, width: float | None = None) -> onnx.ModelProto:
    """The decoder or encoder of a row's model, which the caller may change."""
    return onnx.load_from_string(content(row, graph, width))


def inputs(model: VAE, count: int) -> tuple[NDArray[np.float32], NDArray[np.int64] | None]:
    """Noise and labels."""
    random = np.random.default_rng(3)
    noise = random.standard_normal((count, model.latents.noise_dim), np.float32)
    labels = np.arange(count) % len(model.label_names) if model.conditional else None
    return noise, labels


def feed(**arrays: NDArray[Any] | None) -> dict[str, NDArray[Any]]:
    return {name: array for name, array in arrays.items() if array is not None}


def tensor(labels: NDArray[np.int64] | None) -> torch.Tensor | None:
    return None if labels is None else torch.from_numpy(labels)


@pytest.mark.slow
@exported_table
def test_a_decoder_draws_what_the_model_draws(row: Row, tmp_path: Path) -> None:
    model = build(row)
    path = tmp_path / "decoder.onnx"
    write_graph(exported(row, "decoder"), path)
    noise, labels = inputs(model, ODD)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (drawn,) = session.run(None, feed(noise=noise, label=labels))
    with torch.no_grad():
        z = gaussian(model).prior.transform(
            torch.from_numpy(noise), Context.of_label(tensor(labels))
        )
        expected = model.decode(z, tensor(labels)).numpy() * 255.0
    assert drawn.dtype == np.uint8
    assert np.abs(drawn - expected).max() <= 0.5 + 255.0 * TOLERANCE
    parity = verify(path, model)
    assert parity.error <= TOLERANCE
    assert parity.images == NOISES * max(1, len(model.label_names))


def test_every_part_has_a_row_that_is_exported() -> None:
    of_any_size = {*with_trait("network", "any_size")}
    assert {row.network for row in EXPORTED} == NETWORKS.keys() - of_any_size
    assert {row.prior for row in EXPORTED} == PRIORS.keys() - {"codes"}  # see test_codes.py
    assert {row.likelihood for row in EXPORTED} == LIKELIHOODS.keys()
    assert {row.posterior for row in EXPORTED} == {
        *get_args(get_type_hints(GaussianSpacePart)["posterior"])
    }
    codes = with_trait("latent_space", "codes")
    assert {build(TABLE[0]).config.latent_space, *OTHER_SPACES, *codes} == SPACES.keys()


ENCODERS = list(
    {(row.network, row.posterior, row.conditioning): row for row in EXPORTED[::-1]}.values()
)
"""A row for each encoder, which knows of neither prior nor likelihood."""


@pytest.mark.slow
@pytest.mark.parametrize("row", ENCODERS, ids=lambda row: "-".join(map(str, row)))
def test_an_encoder_encodes_as_the_model_does(row: Row, tmp_path: Path) -> None:
    model = build(row)
    path = tmp_path / "encoder.onnx"
    write_graph(exported(row, "encoder"), path)
    _, labels = inputs(model, ODD)
    images = np.random.default_rng(0).integers(0, 256, (ODD, *model.image_shape), np.uint8)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    found = session.run(["mean", "log_variance"], feed(image=images, label=labels))
    with torch.no_grad():
        posterior = model.encode(torch.from_numpy(images).float() / 255.0, tensor(labels))
        expected = posterior.mean, posterior.log_variance
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)
    assert verify(path, model).error <= TOLERANCE


CONDITIONAL = [TABLE[1], TABLE[10], TABLE[14]]


@pytest.mark.slow
@pytest.mark.parametrize("row", CONDITIONAL, ids=lambda row: "-".join(map(str, row)))
def test_a_label_that_is_none_is_an_error_in_the_runtime(row: Row) -> None:
    model = build(row)
    images = np.zeros((2, *model.image_shape), np.uint8)
    noise, _ = inputs(model, 2)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    for proto, given in (
        (exported(row, "decoder"), {"noise": noise}),
        (exported(row, "encoder"), {"image": images}),
    ):
        session = onnxruntime.InferenceSession(proto.SerializeToString(), options)
        session.run(None, {**given, "label": np.array([0, 2])})
        for wrong in (-1, -3, 3, 2**40):
            with pytest.raises(Exception, match=r"(?i)indices|out of"):
                session.run(None, {**given, "label": np.array([0, wrong])})


@pytest.mark.slow
@pytest.mark.parametrize("row", [TABLE[1], TABLE[19], TABLE[22]], ids=str)
def test_a_second_runtime_agrees(row: Row) -> None:
    proto = exported(row, "decoder")
    noise, labels = inputs(build(row), ODD)
    given = feed(noise=noise, label=labels)
    (mine,) = np.asarray(ReferenceEvaluator(proto).run(None, given))
    (theirs,) = onnxruntime.InferenceSession(proto.SerializeToString()).run(None, given)
    assert np.abs(mine.astype(int) - theirs).max() <= 1


@pytest.mark.slow
@pytest.mark.parametrize("row", [TABLE[1], TABLE[9], TABLE[14], TABLE[19]], ids=str)
def test_an_image_is_the_same_in_every_batch_and_for_every_number_of_threads(
    row: Row, tmp_path: Path
) -> None:
    path = tmp_path / "decoder.onnx"
    proto = exported(row, "decoder")
    proto.graph.output.append(onnx.ValueInfoProto(name=MEAN))
    path.write_bytes(proto.SerializeToString())
    noise, labels = inputs(build(row), 64)
    found = []
    for threads in (1, 2):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        session = onnxruntime.InferenceSession(str(path), options)
        for size in (1, 7, 64):
            parts = [slice(at, at + size) for at in range(0, 64, size)]
            rows = [
                session.run(
                    [MEAN], feed(noise=noise[at], label=None if labels is None else labels[at])
                )
                for at in parts
            ]
            found.append(np.concatenate([row for (row,) in rows]))
    for other in found[1:]:
        np.testing.assert_array_equal(found[0], other)


@pytest.mark.slow
@pytest.mark.parametrize("row", [TABLE[1], TABLE[8], TABLE[14], TABLE[23]], ids=str)
def test_graphs_are_clean_and_say_what_they_are(row: Row) -> None:
    model = build(row)
    for proto in (exported(row, "decoder"), exported(row, "encoder")):
        content = proto.SerializeToString()
        for trace in (b'File "', b"site-packages", b"distvae/", bytes(CHECKOUT), b"torch.nn"):
            assert trace not in content, trace
        for kind in (b"DenseLayers", b"DecoderGraph", b"ResidualBlock", b"ConvLayer"):
            assert kind not in content, kind
        assert not any(node.metadata_props or node.doc_string for node in proto.graph.node)
        kinds = {node.op_type for node in proto.graph.node}
        assert not {kind for kind in kinds if "Random" in kind or kind in ("Bernoulli", "Loop")}
        assert [(one.domain, one.version) for one in proto.opset_import] == [("", OPSET)]
        assert proto.ir_version == IR_VERSION
        onnx.checker.check_model(proto, full_check=True)
        onnx.shape_inference.infer_shapes(proto, strict_mode=True)
        (entry,) = proto.metadata_props
        assert entry.key == KEY
        manifest = parse_manifest(entry.value, "it")
        assert manifest.domain == model.domain
        assert manifest.label_names == model.label_names
        assert (manifest.noise_dim, manifest.latent_dim) == (model.latents.noise_dim, 3)
        assert manifest.weights_sha256 == checksum(model.state_dict())
        assert (manifest.network, manifest.prior) == (row.network, row.prior)
        assert manifest.settings["beta"] == 1.5


def test_weights_that_do_not_fit_into_the_file_lie_beside_it(tmp_path: Path) -> None:
    model = build(TABLE[1])
    proto = decoder_graph(model, ORIGIN)
    one, other = tmp_path / "one" / "decoder.onnx", tmp_path / "other" / "decoder.onnx"
    write_graph(proto, one)
    write_graph(proto, other, largest=1000)
    assert {path.name for path in other.parent.iterdir()} == {"decoder.onnx", "decoder.onnx.data"}
    assert other.stat().st_size < one.stat().st_size / 3
    drawn = [Sampler(path).sample(count=5, seed=1) for path in (one, other)]
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert verify(other, model) == verify(one, model)
    moved = tmp_path / "third" / "decoder.onnx"
    moved.parent.mkdir()
    for path in other.parent.iterdir():
        path.rename(moved.parent / path.name)
    np.testing.assert_array_equal(Sampler(moved).sample(count=5, seed=1), drawn[0])


def test_the_same_model_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_graph(decoder_graph(build(TABLE[8]), ORIGIN), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_trained_model_is_left_as_it_is() -> None:
    model = build(TABLE[14]).train()
    before = checksum(model.state_dict())
    decoder_graph(model, ORIGIN)
    assert model.training
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert checksum(model.state_dict()) == before


def test_every_label_has_its_turn() -> None:
    assert [rounds(labels) for labels in (0, 1, 10, 32, 33, 1000)] == [1, 1, 10, 32, 32, 32]
    assert rounds(10_000) * NOISES >= 10_000
