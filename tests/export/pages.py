"""Decoders made by hand, what Python draws with them, and what their pages show."""

import http.server
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from distvae import domains
from distvae.export import probe
from distvae.export.manifest import DECODER, KEY, Manifest
from distvae.export.outline import metadata_entry
from distvae.export.rounding import measured_probe
from tests.export.browser import Page

Images = NDArray[np.uint8]
STRANGE = ('<b>&"x"', "<script>alert(1)</script>", "a, b", "  ", "été 日本", "7")
LONG = tuple(
    f"label number {number} of a thousand with quite a long name" for number in range(1000)
)
MODELS: dict[str, tuple[tuple[int, int, int], int, tuple[str, ...]]] = {
    "digits": ((1, 8, 8), 6, tuple("0123456789")),
    "line": ((1, 8, 8), 1, ("only",)),
    "plane": ((1, 12, 9), 2, ()),
    "colour": ((3, 16, 16), 19, STRANGE),
    "numbers": ((1, 8, 8), 6, ("1", "2", "10", "100")),
    "many": ((3, 256, 256), 256, LONG),
}
SAMPLES = 24
IDLE = "document.querySelector('#page:not([hidden])[aria-busy=false]') !== null"
PIXELS = """(() => {
    const copy = new OffscreenCanvas($.width, $.height);
    copy.getContext("2d").drawImage($, 0, 0);
    return [...copy.getContext("2d").getImageData(0, 0, $.width, $.height).data];
})()"""
IMAGE = "document.querySelector('#image')"

SMALL = """[...document.querySelectorAll('button, select, summary, input, .chip, .slider, .file')]
    .filter((it) => it.checkVisibility() && !it.matches('[type=file], .chip input'))
    .map((it) => [it.outerHTML.slice(0, 80), it.getBoundingClientRect()])
    .filter(([, box]) => box.width > 0 && Math.min(box.width, box.height) < 43.9)"""
SCROLLED = """[...document.querySelectorAll('main *')].filter((it) => (
    ['auto', 'scroll'].includes(getComputedStyle(it).overflowY)
    && it.scrollHeight > it.clientHeight + 1)).map((it) => it.outerHTML.slice(0, 80))"""


def manifest(
    shape: tuple[int, int, int], dim: int, names: tuple[str, ...], graph: str = "decoder"
) -> Manifest:
    return Manifest(
        graph=graph,
        precision="fp32",
        domain=domains.Images(shape),
        noise_dim=dim,
        latent_dim=dim,
        label_names=names,
        prior="normal",
        likelihood="bernoulli",
        network="mlp",
        settings={},
        data={"source": "made by hand", "fingerprint": "0"},
        weights_sha256="0" * 64,
        opset=18,
        versions={},
    )


def write_decoder(path: Path, facts: Manifest) -> Path:
    """A graph by hand: grey levels are linear in the noise, with an offset by label."""
    random = np.random.default_rng(0)
    channels, height, width = facts.domain.shape
    rank = 3  # so that a large image needs few weights
    low = random.normal(size=(facts.noise_dim, rank)).astype(np.float32)
    high = random.normal(0, 20, (rank, channels * height * width)).astype(np.float32)
    table = random.uniform(40, 215, (len(facts.label_names) or 1, channels)).astype(np.float32)
    constants = {
        "low": low,
        "high": high,
        "table": table,
        "bottom": np.float32(0),
        "top": np.float32(255),
        "shape": np.array([-1, channels, height, width]),
        "colour": np.array([-1, channels, 1, 1]),
    }
    if not facts.conditional:
        constants["none"] = np.array([0])
    node = helper.make_node
    nodes = [
        node("MatMul", ["noise", "low"], ["few"]),
        node("MatMul", ["few", "high"], ["flat"]),
        node("Reshape", ["flat", "shape"], ["grey"]),
        node("Gather", ["table", "label" if facts.conditional else "none"], ["row"]),
        node("Reshape", ["row", "colour"], ["offset"]),
        node("Add", ["grey", "offset"], ["sum"]),
        node("Clip", ["sum", "bottom", "top"], ["level"]),
        node("Round", ["level"], ["round"]),
        node("Cast", ["round"], ["image"], to=TensorProto.UINT8),
    ]
    value = helper.make_tensor_value_info
    inputs = [value("noise", TensorProto.FLOAT, ["batch", facts.noise_dim])]
    if facts.conditional:
        inputs.append(value("label", TensorProto.INT64, ["batch"]))
    outputs = [value("image", TensorProto.UINT8, ["batch", channels, height, width])]
    weights = [numpy_helper.from_array(np.asarray(array), n) for n, array in constants.items()]
    graph = helper.make_graph(nodes, "decoder", inputs, outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    helper.set_model_props(model, {KEY: facts.to_json()})
    onnx.save(model, str(path))
    if facts.graph == DECODER:
        found = measured_probe(path, model, facts)
        with path.open("ab") as file:
            file.write(metadata_entry(probe.KEY, probe.to_json(found)))
    return path


def draw(path: Path, noise: NDArray[np.float32], label: int | None) -> Images:
    """What Python's onnxruntime draws, ``[batch, C, H, W]``."""
    feed: dict[str, NDArray[Any]] = {"noise": noise}
    if label is not None:
        feed["label"] = np.full(len(noise), label)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"])
    (images,) = session.run(["image"], feed)
    found: Images = images
    return found


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


def pixels(page: Page, canvas: str, shape: tuple[int, int, int]) -> Images:
    """What a canvas shows, ``[C, H, W]``; it is opaque, and grey where there is one channel."""
    page.wait(IDLE)
    channels, height, width = shape
    values = page.run(PIXELS.replace("$", canvas))
    found = np.array(values, np.uint8).reshape(height, width, 4).transpose(2, 0, 1)
    assert (found[3] == 255).all()
    assert channels == 3 or (found[:3] == found[0]).all()
    return found[:channels]


def assert_same(found: Images, expected: Images) -> None:
    """To one grey level, and of something that can be seen."""
    assert np.ptp(expected) > 50
    assert np.abs(found.astype(int) - expected.astype(int)).max() <= 1


def enter(page: Page, field: str, text: str) -> None:
    page.click(f"document.querySelector('{field}')")
    page.run(f"document.querySelector('{field}').select()")
    page.type(text)


def slide(page: Page, slider: str, value: float) -> None:
    """What moving a slider does, to the exact value."""
    page.run(f"{slider}.value = {value}; {slider}.dispatchEvent(new Event('input'))")


def check_layout(page: Page) -> None:
    """Nothing goes beyond the screen, scrolls within it, or is too small for a finger."""
    page.run("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    assert page.run("document.scrollingElement.scrollWidth <= innerWidth")
    assert page.run(SCROLLED) == []
    assert page.run(SMALL) == []
