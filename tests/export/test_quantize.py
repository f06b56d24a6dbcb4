"""Smaller files: how near they stay, that they are smaller, and that a batch changes nothing."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from distvae.draws.normals import standard_normal
from distvae.export.convert import decoder_graph, manifest_of, write_graph
from distvae.export.parity import Parity
from distvae.export.quantize import Feed, half, integer
from distvae.export.verify import verify
from distvae.models import VAE
from tests.export.saturation import exact, full_range, products, saturating, worst
from tests.export.test_convert import GRAPHS, ORIGIN, exported
from tests.test_models import TABLE, Row, build

ROWS = [TABLE[1], TABLE[5], TABLE[7], TABLE[8], TABLE[13], TABLE[14]]
rows = pytest.mark.parametrize("row", ROWS, ids=lambda row: "-".join(map(str, row)))


def feeds(model: VAE, graph: str) -> list[Feed]:
    """Calibration inputs; images are drawn at random."""
    random = np.random.default_rng(0)
    found: list[Feed] = []
    for part in range(4):
        count = 32
        images = random.integers(0, 256, (count, *model.image_shape), np.uint8)
        noise = standard_normal(0, part * count, count, model.latents.noise_dim)
        given: dict[str, NDArray[Any]] = (
            {"noise": noise} if graph == "decoder" else {"image": images}
        )
        if model.conditional:
            given["label"] = np.arange(count) % len(model.label_names)
        found.append(given)
    return found


@pytest.mark.slow
@rows
def test_half_floats_cost_little_and_halve_the_weights(row: Row, tmp_path: Path) -> None:
    model = build(row, width=1.0)
    for graph in GRAPHS:
        proto = exported(row, graph, width=1.0)
        write_graph(proto, tmp_path / "float.onnx")
        write_graph(half(proto), tmp_path / "half.onnx")
        parity = verify(tmp_path / "half.onnx", model)
        assert 0.0 < parity.error < 2e-2
        assert parity.mean_error < 1e-3
        assert manifest_of(onnx.load(str(tmp_path / "half.onnx"))).precision == "fp16"


@pytest.mark.slow
@rows
def test_integers_stay_near_and_are_the_same_in_every_batch(row: Row, tmp_path: Path) -> None:
    model = build(row, width=1.0)
    for graph in GRAPHS:
        proto = exported(row, graph, width=1.0)
        changed = integer(proto, feeds(model, graph))
        path = tmp_path / "int8.onnx"
        write_graph(changed, path)
        parity: Parity = verify(path, model)  # compares batches too
        assert 0.0 < parity.mean_error < 2e-2
        assert manifest_of(changed).precision == "int8"
        assert "QuantizeLinear" in {node.op_type for node in changed.graph.node}
        again = integer(proto, feeds(model, graph))
        assert path.read_bytes().startswith(again.SerializeToString(deterministic=True))


@pytest.mark.slow
@pytest.mark.parametrize(
    "row", [TABLE[1], TABLE[8], TABLE[14]], ids=lambda row: "-".join(map(str, row))
)
def test_integers_are_right_on_a_processor_that_adds_pairs_in_16_bits(row: Row) -> None:
    model = build(row, width=1.0)
    wrong = 0
    for graph in GRAPHS:
        proto = exported(row, graph, width=1.0)
        calibration = feeds(model, graph)[:1]
        found = products(integer(proto, calibration), proto, calibration[0])
        assert found
        for product in found:
            for activations in (product.activations[:64], worst(product.weights[:, :16])):
                there = saturating(activations, product.weights)
                np.testing.assert_array_equal(there, exact(activations, product.weights))
            eight_bits = full_range(product.original)
            a = product.activations[:64]
            wrong += int((saturating(a, eight_bits) != exact(a, eight_bits)).sum())
    assert wrong > 0, "weights of 8 bits show no saturation: the test would find nothing"


def test_pairs_are_added_as_the_instruction_does() -> None:
    """By hand: both ends of 16 bits saturate, and what lies between them is exact."""
    a = np.array([[255, 255], [255, 0], [255, 128]], np.uint8)
    b = np.array([[127, -128, 64], [127, -128, 64]], np.int8)
    np.testing.assert_array_equal(
        saturating(a, b), [[32767, -32768, 32640], [32385, -32640, 16320], [32767, -32768, 24512]]
    )
    odd = np.array([[255, 255, 1]], np.uint8)
    np.testing.assert_array_equal(saturating(odd, np.full((3, 1), 127, np.int8)), [[32894]])


def test_smaller_files_are_smaller_and_clean(tmp_path: Path) -> None:
    model = build(Row("mlp", "cvae", "label", "bernoulli", (3, 32, 32)), width=8.0)
    proto = decoder_graph(model, ORIGIN)
    sizes = []
    for name, one in (
        ("float", proto),
        ("half", half(proto)),
        ("int8", integer(proto, feeds(model, "decoder"))),
    ):
        write_graph(one, tmp_path / name)
        sizes.append((tmp_path / name).stat().st_size)
        content = (tmp_path / name).read_bytes()
        for trace in (b"site-packages", bytes(tmp_path.parent), b"onnx.quantize", b'File "'):
            assert trace not in content
    assert sizes[0] > 1.5 * sizes[1] > 1.5 * sizes[2]
    assert manifest_of(proto).precision == "fp32"
