"""A machine that computes something else than the file says is found when the file is opened."""

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper

from distvae.errors import DistvaeError
from distvae.export import probe
from distvae.export.encoder import Encoder
from distvae.export.outline import metadata_entry
from distvae.export.rounding import measured_probe
from distvae.export.sampler import Sampler
from tests.export.conftest import SHAPE, Tiny


def probed(path: Path, tiny: Tiny, graph: str) -> Path:
    """A file with its probe."""
    written = (tiny.decoder if graph == "decoder" else tiny.encoder)(path)
    found = measured_probe(written, onnx.load(str(written)), tiny.manifest(graph))
    with written.open("ab") as file:
        file.write(metadata_entry(probe.KEY, probe.to_json(found)))
    return written


def compute_otherwise(path: Path, by: float) -> None:
    """Change what the graph computes, as other arithmetic would, and leave its probe."""
    model = onnx.load(str(path))
    (matrix,) = (one for one in model.graph.initializer if one.name == "matrix")
    changed: NDArray[Any] = numpy_helper.to_array(matrix) * np.float32(by)
    matrix.CopyFrom(numpy_helper.from_array(changed, "matrix"))
    path.write_bytes(model.SerializeToString())


def test_a_file_that_is_computed_right_is_opened(tmp_path: Path) -> None:
    for tiny in (Tiny(), Tiny(names=()), Tiny(names=("one",)), Tiny(shape=(1, 40, 33))):
        Sampler(probed(tmp_path / "decoder.onnx", tiny, "decoder"))
        Encoder(probed(tmp_path / "encoder.onnx", tiny, "encoder"))


def test_the_values_are_those_of_the_graph(tmp_path: Path) -> None:
    tiny = Tiny(shape=(1, 40, 33))
    manifest = tiny.manifest("decoder")
    inputs, count = probe.probe_inputs(manifest)
    assert (count, inputs["label"].tolist()) == (4, [0, 0, 1, 2])
    found = probe.computed(tiny.decoder(tmp_path / "decoder.onnx"), manifest)
    images = tiny.images(inputs["noise"], inputs["label"]).reshape(count, -1)
    np.testing.assert_array_equal(found["image"], images[:, ::7])  # of 1,320 at most 256
    assert found["image"].size <= 4 * 256
    assert probe.probe_inputs(Tiny(shape=(3, 999, 999)).manifest("decoder"))[1] == 1


@pytest.mark.parametrize("graph", ["decoder", "encoder"])
@pytest.mark.parametrize("by", [1.0 + 1e-6, 1.5, float("nan")])
def test_other_arithmetic_is_found(tmp_path: Path, graph: str, by: float) -> None:
    path = probed(tmp_path / f"{graph}.onnx", Tiny(), graph)
    compute_otherwise(path, by)
    kind: Any = Sampler if graph == "decoder" else Encoder
    kind(path, verify=False)
    if by < 1.1:
        kind(path)
        return
    with pytest.raises(DistvaeError) as caught:
        kind(path)
    for word in (str(path), "is not computed right by onnxruntime", "probe", "--verify off"):
        assert word in str(caught.value)


def test_integers_without_a_probe_are_compared_with_their_own_graph(tmp_path: Path) -> None:
    tiny = Tiny(changes={"precision": "int8"})
    path, manifest = tiny.decoder(tmp_path / "decoder.onnx"), tiny.manifest("decoder")
    Sampler(path)
    inputs, _ = probe.probe_inputs(manifest)
    images = tiny.images(inputs["noise"], inputs["label"])
    probe.check_outputs(path, manifest, {"image": images}, None)
    wrong = {"image": (images // 2).astype(np.uint8)}
    with pytest.raises(DistvaeError, match=r"differs by .* grey levels of 256, at most"):
        probe.check_outputs(path, manifest, wrong, None)
    probe.check_outputs(path, Tiny().manifest("decoder"), wrong, None)  # floats have no such past


def test_the_limit_in_a_file_is_the_one_that_holds(tmp_path: Path) -> None:
    """Images off by 4 levels: earlier files allow 5, others what stands in them."""
    tiny, path = Tiny(), tmp_path / "decoder.onnx"
    manifest = tiny.manifest("decoder")
    values = probe.computed(tiny.decoder(path), manifest)
    inputs, _ = probe.probe_inputs(manifest)
    images = tiny.images(inputs["noise"], inputs["label"])
    off = {"image": np.where(images > 100, images - 4, images + 4).astype(np.uint8)}
    narrow, wide = (probe.to_json(probe.Probe(values, {"image": at})) for at in (3.9, 4.0))
    earlier = {"image": json.loads(wide)["image"]}  # which is all that earlier readers look at
    assert base64.b64decode(earlier["image"]) == values["image"].tobytes()
    probe.check_outputs(path, manifest, off, wide)
    probe.check_outputs(path, manifest, off, json.dumps(earlier))
    with pytest.raises(DistvaeError, match=r"differs by 4 grey levels of 256, at most 3\.9"):
        probe.check_outputs(path, manifest, off, narrow)


@pytest.mark.parametrize(
    "limits",
    ["5", "[2.0]", "{}", '{"mean": 2.0}', '{"image": "far"}', '{"image": null}', '{"image": -1.0}',
     '{"image": 6.1}', '{"image": 1e400}', '{"image": Infinity}', '{"image": NaN}', "null"],
)  # fmt: skip
def test_a_limit_out_of_bounds_is_not_believed(tmp_path: Path, limits: str) -> None:
    manifest = Tiny().manifest("decoder")
    path = Tiny().decoder(tmp_path / "decoder.onnx")
    whole = json.loads(probe.to_json(probe.Probe(probe.computed(path, manifest), {})))
    text = f'{{"image": "{whole["image"]}", "limits": {limits}}}'
    with path.open("ab") as file:
        file.write(metadata_entry(probe.KEY, text))
    with pytest.raises(DistvaeError, match=r"damaged: distvae\.probe in its metadata"):
        Sampler(path)


@pytest.mark.parametrize(
    "text",
    ["", "5", "[]", "{}", "null", '{"image": 5}', '{"image": "?"}', '{"image": "AAAA"}',
     "[" * 20_000, '{"image": "\u00e9"}'],
)  # fmt: skip
def test_a_damaged_probe_is_told(tmp_path: Path, text: str) -> None:
    path = Tiny().decoder(tmp_path / "decoder.onnx")
    with path.open("ab") as file:
        file.write(metadata_entry(probe.KEY, text))
    with pytest.raises(DistvaeError, match=r"damaged: distvae\.probe in its metadata"):
        Sampler(path)
    assert Sampler(path, verify=False).manifest.domain.shape == SHAPE
