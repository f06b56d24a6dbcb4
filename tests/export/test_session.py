"""Opening ONNX files: ours, damaged ones, strangers' and malicious ones."""

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper
from PIL import Image
from safetensors.numpy import save_file

from distvae.domains import Images
from distvae.errors import DistvaeError
from distvae.export.manifest import KEY
from distvae.export.outline import read_outline
from distvae.export.session import PROVIDERS, open_graph, read_manifest
from tests.conftest import Command, assert_refused
from tests.export.conftest import NAMES, NOISE_DIM, SHAPE, Tiny


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return Tiny().decoder(tmp_path / "model" / "decoder.onnx")


def refused(path: Path, *words: str, graph: str = "decoder") -> None:
    with pytest.raises(DistvaeError) as caught:
        open_graph(path, graph)
    for word in (*words, path.name):
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


def keep_beside(path: Path, tensor: str, location: str) -> None:
    """Let a file say that one of its tensors lies in another file."""
    model = onnx.load(str(path))
    (found,) = (one for one in model.graph.initializer if one.name == tensor)
    onnx.external_data_helper.set_external_data(found, location)
    found.ClearField("raw_data")
    path.write_bytes(model.SerializeToString())


def test_a_file_of_ours_is_opened(path: Path) -> None:
    graph = open_graph(path, "decoder")
    assert graph.manifest == Tiny().manifest("decoder") == read_manifest(path)
    assert graph.session.get_providers() == ["CPUExecutionProvider"]
    assert list(graph.outputs.values()) == [("tensor(uint8)", SHAPE)]


def test_the_outline_is_what_onnx_reads(path: Path) -> None:
    keep_beside(path, "matrix", "weights.bin")
    model = onnx.load(str(path), load_external_data=False)
    outline = read_outline(path)
    assert outline.metadata == {entry.key: entry.value for entry in model.metadata_props}
    assert outline.locations == ("weights.bin",)


def test_what_is_no_onnx_file_is_refused(
    tmp_path: Path, path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    refused(tmp_path / "none.onnx", "is missing", "distvae export")
    refused(tmp_path / "model", "is a folder")
    (tmp_path / "empty.onnx").touch()
    refused(tmp_path / "empty.onnx", "no ONNX file")
    Image.new("L", (9, 9)).save(tmp_path / "picture.png")
    refused(tmp_path / "picture.png", "no ONNX file")
    save_file({"a": np.zeros(9, np.float32)}, tmp_path / "model.safetensors")
    refused(tmp_path / "model.safetensors", "no ONNX file")
    (tmp_path / "words.onnx").write_text("a model\n" * 99)
    refused(tmp_path / "words.onnx", "no ONNX file")
    assert capfd.readouterr() == ("", "")


def test_a_file_that_is_cut_short_is_refused_wherever_it_ends(tmp_path: Path, path: Path) -> None:
    content = path.read_bytes()
    for length in range(0, len(content), 37):
        (tmp_path / "short.onnx").write_bytes(content[:length])
        refused(tmp_path / "short.onnx")


def test_a_file_with_flipped_bits_is_opened_or_refused(
    tmp_path: Path, path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    content, random = path.read_bytes(), np.random.default_rng(0)
    refusals = 0
    for place in random.integers(len(content), size=300):
        flipped = bytearray(content)
        flipped[place] ^= 1 << int(random.integers(8))
        (tmp_path / "flipped.onnx").write_bytes(flipped)
        try:
            open_graph(tmp_path / "flipped.onnx", "decoder")
        except DistvaeError:
            refusals += 1
    assert 0 < refusals < 300
    assert capfd.readouterr() == ("", "")


def test_a_file_that_is_not_ours_is_refused(path: Path) -> None:
    model = onnx.load(str(path))
    del model.metadata_props[:]
    path.write_bytes(model.SerializeToString())
    refused(path, "not exported by distvae", KEY)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 4}, "manifest format 4"),
        ({"format": 0}, "manifest format 0"),
        ({"format": "1"}, "format is '1'"),
        ({"domain": {"name": "images", "shape": [1, 28]}}, "damaged manifest"),
        ({"domain": None}, "damaged manifest"),
        ({"domain": None, "image_shape": [1, 28]}, "damaged manifest"),
        ({"noise_dim": "3"}, "damaged manifest"),
        ({"label_names": 5}, "damaged manifest"),
        ({"label_names": [5]}, "damaged manifest"),
        ({"more": 1}, "more"),
    ],
)
def test_another_manifest_is_refused(path: Path, change: dict[str, object], message: str) -> None:
    model = onnx.load(str(path))
    facts = json.loads(model.metadata_props[0].value)
    helper.set_model_props(model, {KEY: json.dumps({**facts, **change})})
    path.write_bytes(model.SerializeToString())
    refused(path, message)


def test_the_wrong_graph_is_refused(tmp_path: Path, path: Path) -> None:
    refused(path, "is a decoder", "expected the encoder", graph="encoder")
    refused(Tiny().encoder(tmp_path / "encoder.onnx"), "is an encoder", "decoder.onnx")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"noise_dim": 9}, "noise tensor(float) ['batch', 9]"),
        ({"label_names": ()}, "its inputs are noise"),
        ({"domain": Images((1, 5, 4))}, "image tensor(uint8) ['batch', 1, 5, 4]"),
    ],
)
def test_a_graph_that_is_not_as_its_manifest_says_is_refused(
    tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    written = Tiny().decoder(tmp_path / "decoder.onnx")
    model = onnx.load(str(written))
    manifest = Tiny(changes=changes).manifest("decoder")
    helper.set_model_props(model, {KEY: manifest.to_json()})
    written.write_bytes(model.SerializeToString())
    refused(written, "does not fit its manifest", message)


def test_a_graph_for_one_batch_size_is_refused(path: Path) -> None:
    model = onnx.load(str(path))
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 4
    path.write_bytes(model.SerializeToString())
    refused(path, "noise tensor(float) [4, 3]", "['batch', 3]")


def test_weights_may_lie_beside_the_file(path: Path) -> None:
    Tiny().matrix.tofile(path.parent / "weights.bin")
    keep_beside(path, "matrix", "weights.bin")
    session = open_graph(path, "decoder").session
    noise = np.ones((1, NOISE_DIM), np.float32)
    (found,) = session.run(None, {"noise": noise, "label": np.array([2])})
    np.testing.assert_array_equal(found, Tiny().images(noise, [2]))
    (path.parent / "weights.bin").unlink()
    with pytest.raises(DistvaeError, match=r"weights\.bin is missing"):
        open_graph(path, "decoder")


@pytest.mark.parametrize(
    "location",
    ["../weights.bin", "ABSOLUTE", "link.bin", "up/weights.bin", "sub/../../weights.bin"],
)
def test_weights_outside_the_folder_are_refused(path: Path, location: str) -> None:
    outside = path.parent.parent / "weights.bin"
    Tiny().matrix.tofile(outside)
    (path.parent / "link.bin").symlink_to(outside)
    (path.parent / "up").symlink_to(outside.parent)
    keep_beside(path, "matrix", str(outside) if location == "ABSOLUTE" else location)
    refused(path, "outside its folder", "Do not use it")


def test_weights_outside_the_folder_are_refused_inside_a_branch(path: Path) -> None:
    Tiny().matrix.tofile(path.parent.parent / "weights.bin")
    keep_beside(path, "matrix", "../weights.bin")
    model = onnx.load(str(path), load_external_data=False)
    (outer,) = (one for one in model.graph.initializer if one.name == "matrix")
    value = helper.make_tensor_value_info("inner", TensorProto.FLOAT, None)
    branch = helper.make_graph([], "branch", [], [value], [outer])
    choice = helper.make_node("If", ["yes"], ["any"], then_branch=branch, else_branch=branch)
    model.graph.node.append(choice)
    model.graph.initializer.remove(outer)
    path.write_bytes(model.SerializeToString())
    refused(path, "outside its folder")


def test_a_provider_that_is_not_there_is_refused(path: Path) -> None:
    known = onnxruntime.get_available_providers()
    for short, (long, package) in PROVIDERS.items():
        if long not in known:
            with pytest.raises(DistvaeError, match=rf"{short} is not .* it has cpu.*{package}"):
                open_graph(path, "decoder", short)
    with pytest.raises(DistvaeError, match=r"'cdua' is unknown: .*cpu, cuda.* Did you mean cuda"):
        open_graph(path, "decoder", "cdua")
    assert set(known) & {long for long, _ in PROVIDERS.values()}


def test_threads_are_those_asked_for(path: Path) -> None:
    session = open_graph(path, "decoder", threads=3).session
    assert session.get_session_options().intra_op_num_threads == 3
    with pytest.raises(DistvaeError, match="threads is 0: expected at least 1"):
        open_graph(path, "decoder", threads=0)


def test_labels_are_read_whatever_their_script(tmp_path: Path) -> None:
    names = ("ひらがな", "naïve", 'a "b"', *NAMES)
    path = Tiny(names=names).decoder(tmp_path / "decoder.onnx")
    assert read_manifest(path).label_names == names


def test_inspect_shows_what_the_file_says(path: Path, command: Command) -> None:
    ended = command("inspect", path)
    assert ended.code == 0, ended.err
    size = f"{path.stat().st_size:,} bytes"
    inputs = ("noise: (float) ['batch', 3]", "label: (int64) ['batch']")
    facts = ("decoder, fp32, opset 18", "3 x 4 x 5", "circle, cross, square", "beta", "1.5", "f00")
    for words in (size, *inputs, "image: (uint8) ['batch', 3, 4, 5]", *facts):
        assert words in ended.out
    Tiny().encoder(path)
    assert "log_variance: (float) ['batch', 3]" in command("inspect", path).out
    path.write_bytes(path.read_bytes()[:99])
    assert_refused(command("inspect", path), "decoder.onnx is damaged")
    assert_refused(command("inspect", "none.onnx"), "none.onnx is missing")
