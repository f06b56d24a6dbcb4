"""Smaller files of the same graph: half floats, and 8-bit integers, by ONNX Runtime's own tools.

Legend: B batch.
"""

import contextlib
import logging
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_static,
)

from distvae.export.convert import described, manifest_of
from distvae.export.manifest import DECODER
from distvae.export.tracing import clean

Feed = Mapping[str, NDArray[Any]]
"""Inputs of one run, by name."""
CALIBRATION_IMAGES = 512
CALIBRATION_BATCH = 64


def half(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The graph in float16; its inputs and outputs stay as they are."""
    from onnxruntime.transformers.float16 import convert_float_to_float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    with _without_remarks():
        changed = convert_float_to_float16(_copy(proto), keep_io_types=True)
        OnnxModel.graph_topological_sort(changed.graph, is_deterministic=True)
    return _as(changed, proto, "fp16")


def integer(proto: onnx.ModelProto, calibration: Sequence[Feed]) -> onnx.ModelProto:
    """The graph with 8-bit weights and, at its matrix products, 8-bit activations.

    The ranges of the activations are fixed here, from the calibration runs. With ranges found anew
    in each run an image would depend on the others in its batch. What a dense layer gives stays
    float32. Left in float32 whole are the layer at the latent variables of each level, whose few
    inputs decide everything else, and a convolution that gives the pixels.

    Weights are of 7 bits, -64 to 64: an x86 processor without VNNI adds two products of an unsigned
    and a signed byte in 16 bits, where 2 * 255 * 64 has room and 2 * 255 * 127 does not. Weights of
    8 bits would draw other images there.

    Args:
        proto: a float32 decoder or encoder.
        calibration: inputs such as the graph will see.
    """
    with _without_remarks(), tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch, "quantized.onnx")
        quantize_static(
            _copy(proto),
            path,
            _Feeds(calibration),
            quant_format=QuantFormat.QDQ,
            nodes_to_quantize=_quantized(proto),
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            reduce_range=True,
            extra_options={"OpTypesToExcludeOutputQuantization": ["Gemm", "MatMul"]},
        )
        changed = onnx.load(str(path))
    return _as(changed, proto, "int8")


class _Feeds(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, feeds: Sequence[Feed]) -> None:
        self.left = iter(feeds)

    def get_next(self) -> Feed | None:
        return next(self.left, None)


def _quantized(proto: onnx.ModelProto) -> list[str]:
    """Names of the layers whose weights become integers."""
    weights = {tensor.name for tensor in proto.graph.initializer}
    layers = [
        node
        for node in proto.graph.node
        if node.op_type in ("Gemm", "MatMul", "Conv") and weights & set(node.input)
    ]
    manifest = manifest_of(proto)
    of_latents = len(manifest.posteriors)
    if manifest.graph != DECODER:
        return [node.name for node in layers[:-of_latents]]
    last = len(layers) - (layers[-1].op_type == "Conv")
    return [node.name for node in layers[of_latents:last]]


def _copy(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The tools change what they are given."""
    copied = onnx.ModelProto()
    copied.CopyFrom(proto)
    return copied


def _as(changed: onnx.ModelProto, proto: onnx.ModelProto, precision: str) -> onnx.ModelProto:
    return described(clean(changed), replace(manifest_of(proto), precision=precision))


@contextlib.contextmanager
def _without_remarks() -> Iterator[None]:
    """Silence what the tools say of steps that this graph does not need."""
    level = logging.root.level
    logging.root.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            logging.root.setLevel(level)
