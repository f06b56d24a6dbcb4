"""What honest rounding moves is allowed, and what a processor without VNNI computes is not."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnxruntime.quantization import quantize_static

from distvae.draws.philox import Stream
from distvae.draws.sequence import Numbers
from distvae.errors import DistvaeError
from distvae.export import probe, quantize
from distvae.export.convert import decoder_graph, encoder_graph, manifest_of
from distvae.export.rounding import EPSILONS, FACTOR, _shaken, measured_probe
from tests.export.conftest import Tiny, write
from tests.export.saturation import outputs_there
from tests.export.test_convert import ORIGIN
from tests.export.test_quantize import feeds
from tests.test_models import TABLE, Row, build

DEEP, SMALL = TABLE[12], TABLE[16]
"""Residual networks of random weights, of 28 and of 8 pixels a side."""


def measured(proto: onnx.ModelProto, folder: Path) -> probe.Probe:
    path = folder / "graph.onnx"
    path.write_bytes(proto.SerializeToString())
    return measured_probe(path, proto, manifest_of(proto))


def waves(folder: Path, steepness: float) -> tuple[onnx.ModelProto, float]:
    """Grey levels 128 + 100 sin(steepness * noise * weights), and about how far rounding moves it.

    A weight that moves by a relative e moves the sine's argument by e of a term, so far more than a
    turn where the steepness is large.
    """
    tiny = Tiny(names=())
    matrix = np.float32(steepness) * tiny.matrix
    nodes = [
        helper.make_node("MatMul", ["noise", "matrix"], ["angle"]),
        helper.make_node("Sin", ["angle"], ["wave"]),
        helper.make_node("Mul", ["wave", "height"], ["scaled"]),
        helper.make_node("Add", ["scaled", "middle"], ["levels"]),
        helper.make_node("Round", ["levels"], ["whole"]),
        helper.make_node("Cast", ["whole"], ["flat"], to=TensorProto.UINT8),
        helper.make_node("Reshape", ["flat", "sides"], ["image"]),
    ]
    constants = {
        "matrix": matrix,
        "height": np.float32(100.0),
        "middle": np.float32(128.0),
        "sides": np.array([-1, *tiny.shape]),
    }
    noise_row = helper.make_tensor_value_info("noise", TensorProto.FLOAT, ["batch", 3])
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", *tiny.shape])
    manifest = tiny.manifest("decoder")
    path = write(folder / "waves.onnx", nodes, [noise_row], [image], constants, manifest)
    noise = probe.probe_inputs(manifest)[0]["noise"].astype(np.float64)
    spread = EPSILONS["float32"] * 2.0**-23 * np.sqrt(noise**2 @ matrix.astype(np.float64) ** 2)
    moved = 100.0 * np.abs(np.cos(noise @ matrix)) * spread * np.sqrt(2.0 / np.pi)
    return onnx.load(str(path)), float(moved.mean(axis=1).max())


def test_the_limit_is_what_rounding_moves_twice_within_bounds(tmp_path: Path) -> None:
    for steepness, bound in ((1e2, probe.GREY_LEVELS.least), (1e6, probe.GREY_LEVELS.most)):
        proto, _ = waves(tmp_path, steepness)
        assert measured(proto, tmp_path).limits == {"image": bound}
    proto, moved = waves(tmp_path, 5e4)
    (limit,) = measured(proto, tmp_path).limits.values()
    assert probe.GREY_LEVELS.least < limit < probe.GREY_LEVELS.most
    assert 0.5 < limit / (FACTOR * moved) < 2.0
    again = measured(proto, tmp_path)
    assert again.limits == {"image": limit}


@pytest.mark.slow
@pytest.mark.parametrize(("row", "make"), [(DEEP, encoder_graph), (SMALL, decoder_graph)])
def test_a_processor_whose_products_saturate_is_found(
    row: Row, make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With 8 bits, as earlier versions exported; with the 7 of today it computes the same."""
    proto = make(build(row, width=1.0), ORIGIN)
    manifest = manifest_of(proto)
    calibration = feeds(build(row, width=1.0), manifest.graph)
    inputs, _ = probe.probe_inputs(manifest)
    path = tmp_path / "graph.onnx"

    integers = quantize.integer(proto, calibration)
    text = probe.to_json(measured(integers, tmp_path))
    probe.check_outputs(path, manifest, outputs_there(integers, inputs), text)

    def eight_bits(*given: Any, **options: Any) -> None:
        quantize_static(*given, **{**options, "reduce_range": False})

    monkeypatch.setattr(quantize, "quantize_static", eight_bits)
    integers = quantize.integer(proto, calibration)
    text = probe.to_json(measured(integers, tmp_path))
    with pytest.raises(DistvaeError, match="is not computed right"):
        probe.check_outputs(path, manifest, outputs_there(integers, inputs), text)


@pytest.mark.parametrize("kind", EPSILONS)
def test_the_largest_numbers_stay_finite(kind: str) -> None:
    limits = np.finfo(kind)
    values = np.array([limits.min, -1.0, 0.0, 1.0, limits.max] * 8, kind)
    moved = _shaken(values, Numbers(0, Stream.ROUNDING))
    assert moved.dtype == values.dtype
    assert np.isfinite(moved).all()
    assert (moved[2::5] == 0.0).all()
    assert (moved != values).any()
