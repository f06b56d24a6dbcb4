"""Products of unsigned and signed bytes as a processor without VNNI computes them.

x86's ``pmaddubsw`` multiplies bytes in pairs and adds each pair in 16 bits, with saturation; the
sums are then added in 32 bits. AVX2 has nothing else for the purpose, nor has AVX-512 without VNNI.

Legend: M rows, K terms of a sum, N columns.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import numpy_helper

from distvae.export.quantize import Feed


@dataclass(frozen=True)
class Product:
    """One matrix product of integers in a quantized graph."""

    activations: NDArray[np.uint8]
    """``[M, K]``, as they are in a run."""
    weights: NDArray[np.int8]
    """``[K, N]``."""
    original: NDArray[np.float32]
    """The weights before they were quantized, ``[K, N]``."""


def saturating(a: NDArray[np.uint8], b: NDArray[np.int8]) -> NDArray[np.int64]:
    """``a [M, K] @ b [K, N]`` with every pair of terms added in 16 bits."""
    odd = a.shape[1] % 2
    left = np.pad(a.astype(np.int64), ((0, 0), (0, odd)))
    right = np.pad(b.astype(np.int64), ((0, odd), (0, 0)))
    total = np.zeros((len(a), b.shape[1]), np.int64)
    for k in range(0, left.shape[1], 2):
        pair = left[:, k : k + 2] @ right[k : k + 2]
        total += pair.clip(-(2**15), 2**15 - 1)
    return total


def exact(a: NDArray[np.uint8], b: NDArray[np.int8]) -> NDArray[np.int64]:
    """``a [M, K] @ b [K, N]``."""
    return a.astype(np.int64) @ b.astype(np.int64)


def worst(weights: NDArray[np.int8]) -> NDArray[np.uint8]:
    """Activations ``[2 N, K]`` that drive every column of ``weights [K, N]`` as far as they can."""
    highest = np.where(weights.T > 0, 255, 0)
    return np.concatenate([highest, 255 - highest]).astype(np.uint8)


def full_range(weights: NDArray[np.float32]) -> NDArray[np.int8]:
    """Float weights ``[K, N]`` in 8 bits, the largest of a column at 127."""
    largest = np.abs(weights).max(axis=0, keepdims=True)
    quantized: NDArray[np.int8] = np.rint(127.0 * weights / largest).astype(np.int8)
    return quantized


def products(quantized: onnx.ModelProto, original: onnx.ModelProto, feed: Feed) -> list[Product]:
    """Every integer product of a quantized graph, with its operands in one run."""
    constants = {one.name: numpy_helper.to_array(one) for one in quantized.graph.initializer}
    before = {one.name: numpy_helper.to_array(one) for one in original.graph.initializer}
    makers = {output: node for node in quantized.graph.node for output in node.output}
    layers: list[tuple[onnx.NodeProto, str, str]] = []
    for node in quantized.graph.node:
        if node.op_type in ("Gemm", "MatMul", "Conv") and _integer(node, makers):
            activations, weights = (makers[name].input[0] for name in node.input[:2])
            layers.append((node, activations, weights))
    found = _run(quantized, [activations for _, activations, _ in layers], feed)
    return [
        Product(
            _rows(node, value, constants[weights]),
            _columns(node, constants[weights]),
            _columns(node, before[weights.removesuffix("_quantized")]),
        )
        for (node, _, weights), value in zip(layers, found, strict=True)
    ]


def _integer(node: onnx.NodeProto, makers: dict[str, onnx.NodeProto]) -> bool:
    """Whether both operands come from integers."""
    return all(
        name in makers and makers[name].op_type == "DequantizeLinear" for name in node.input[:2]
    )


def _run(proto: onnx.ModelProto, names: list[str], feed: Feed) -> list[NDArray[Any]]:
    """Tensors of a graph by name, each layer computed as it stands: in floats."""
    changed = onnx.ModelProto()
    changed.CopyFrom(proto)
    del changed.graph.output[:]
    changed.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(changed.SerializeToString(), options)
    outputs: list[NDArray[Any]] = session.run(names, feed)
    return outputs


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    return {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute}


def _columns(node: onnx.NodeProto, weights: NDArray[Any]) -> NDArray[Any]:
    """Weights as ``[K, N]``; a convolution's terms in the order height, width, channel."""
    if node.op_type == "Conv":
        return np.moveaxis(weights, 1, -1).reshape(len(weights), -1).T
    return weights.T if _attributes(node).get("transB") else weights


def _rows(node: onnx.NodeProto, values: NDArray[Any], weights: NDArray[Any]) -> NDArray[np.uint8]:
    """Activations as ``[M, K]``: of a convolution, what lies under its window at each place."""
    if node.op_type != "Conv":
        return values.reshape(-1, values.shape[-1])
    given = _attributes(node)
    top, left, bottom, right = given.get("pads", [0, 0, 0, 0])
    down, across = given.get("strides", [1, 1])
    padded = np.pad(values, ((0, 0), (0, 0), (top, bottom), (left, right)))
    height, width = weights.shape[2:]
    rows, columns = padded.shape[2] - height + 1, padded.shape[3] - width + 1
    parts = _windows(padded, height, width, rows, columns, down, across)
    return np.stack(list(parts), axis=-2).reshape(-1, height * width * values.shape[1])


def _windows(
    padded: NDArray[Any], height: int, width: int, rows: int, columns: int, down: int, across: int
) -> Iterator[NDArray[Any]]:
    """``[B, rows, columns, C]`` for each place in the window."""
    for y, x in itertools.product(range(height), range(width)):
        part = padded[:, :, y : y + rows : down, x : x + columns : across]
        yield np.moveaxis(part, 1, -1)
