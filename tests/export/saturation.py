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
    constants, before = _constants(quantized), _constants(original)
    layers = list(_layers(quantized))
    found = _run(quantized, [activations for _, activations, _ in layers], feed)
    return [
        Product(
            _rows(node, value, constants[weights]),
            _columns(node, constants[weights]),
            _columns(node, before[weights.removesuffix("_quantized")]),
        )
        for (node, _, weights), value in zip(layers, found, strict=True)
    ]


def outputs_there(quantized: onnx.ModelProto, feed: Feed) -> dict[str, NDArray[Any]]:
    """What a quantized graph gives where its integer products saturate, layer after layer."""
    constants, given = _constants(quantized), dict(feed)
    for node, activations, weights in _layers(quantized):
        (value,) = _run(quantized, [activations], given)
        scale, zero = _scale(quantized, node.input[0], constants)
        columns = _columns(node, constants[weights])
        sums = saturating(_rows(node, value, constants[weights], zero), columns)
        sums -= zero * columns.astype(np.int64).sum(axis=0)
        result = (sums * scale * _scale(quantized, node.input[1], constants)[0]).astype(np.float32)
        if node.op_type == "Conv":
            side = _places(node, value, constants[weights])
            result = np.moveaxis(result.reshape(len(value), *side, -1), -1, 1)
        if len(node.input) > 2:
            (bias,) = _run(quantized, [node.input[2]], given)
            result = result + bias.reshape(-1, *(result.ndim - 2) * [1])
        given[node.output[0]] = np.ascontiguousarray(result)
    names = [output.name for output in quantized.graph.output]
    return dict(zip(names, _run(quantized, names, given), strict=True))


def _constants(proto: onnx.ModelProto) -> dict[str, NDArray[Any]]:
    return {one.name: numpy_helper.to_array(one) for one in proto.graph.initializer}


def _layers(quantized: onnx.ModelProto) -> Iterator[tuple[onnx.NodeProto, str, str]]:
    """Every layer of integers in order, and the names of its activations and weights."""
    makers = {output: node for node in quantized.graph.node for output in node.output}
    for node in quantized.graph.node:
        if node.op_type in ("Gemm", "MatMul", "Conv") and _integer(node, makers):
            activations, weights = (makers[name].input[0] for name in node.input[:2])
            yield node, activations, weights


def _scale(
    quantized: onnx.ModelProto, name: str, constants: dict[str, NDArray[Any]]
) -> tuple[NDArray[np.float64], int]:
    """Scale and zero of what DequantizeLinear gives under a name; weights have one zero, 0."""
    (node,) = (node for node in quantized.graph.node if name in node.output)
    scale, zero = (constants[one] for one in node.input[1:3])
    assert zero.dtype == np.uint8 or not zero.any()
    return scale.astype(np.float64), int(zero.max())


def _integer(node: onnx.NodeProto, makers: dict[str, onnx.NodeProto]) -> bool:
    """Whether both operands come from integers."""
    return all(
        name in makers and makers[name].op_type == "DequantizeLinear" for name in node.input[:2]
    )


def _run(proto: onnx.ModelProto, names: list[str], feed: Feed) -> list[NDArray[Any]]:
    """Tensors of a graph by name, each layer computed as it stands: in floats.

    A tensor that is no input of the graph may be fed too; the layer that makes it is left out.
    """
    changed = onnx.ModelProto()
    changed.CopyFrom(proto)
    del changed.graph.output[:]
    changed.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    made = feed.keys() - {one.name for one in changed.graph.input}
    for node in [node for node in changed.graph.node if made & set(node.output)]:
        changed.graph.node.remove(node)
    changed.graph.input.extend(
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, feed[name].shape)
        for name in sorted(made)
    )
    options, only = onnxruntime.SessionOptions(), onnxruntime.RunOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    only.only_execute_path_to_fetches = True
    session = onnxruntime.InferenceSession(changed.SerializeToString(), options)
    outputs: list[NDArray[Any]] = session.run(names, feed, only)
    return outputs


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    return {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute}


def _columns(node: onnx.NodeProto, weights: NDArray[Any]) -> NDArray[Any]:
    """Weights as ``[K, N]``; a convolution's terms in the order height, width, channel."""
    if node.op_type == "Conv":
        return np.moveaxis(weights, 1, -1).reshape(len(weights), -1).T
    return weights.T if _attributes(node).get("transB") else weights


def _rows(
    node: onnx.NodeProto, values: NDArray[Any], weights: NDArray[Any], zero: int = 0
) -> NDArray[np.uint8]:
    """Activations as ``[M, K]``: of a convolution, what lies under its window at each place."""
    if node.op_type != "Conv":
        return values.reshape(-1, values.shape[-1])
    top, left, bottom, right = _attributes(node).get("pads", [0, 0, 0, 0])
    down, across = _attributes(node).get("strides", [1, 1])
    sides = ((0, 0), (0, 0), (top, bottom), (left, right))
    padded = np.pad(values, sides, constant_values=zero)
    height, width = weights.shape[2:]
    rows, columns = padded.shape[2] - height + 1, padded.shape[3] - width + 1
    parts = _windows(padded, height, width, rows, columns, down, across)
    return np.stack(list(parts), axis=-2).reshape(-1, height * width * values.shape[1])


def _places(node: onnx.NodeProto, values: NDArray[Any], weights: NDArray[Any]) -> tuple[int, int]:
    """Height and width of what a convolution gives."""
    top, left, bottom, right = _attributes(node).get("pads", [0, 0, 0, 0])
    down, across = _attributes(node).get("strides", [1, 1])
    height = (values.shape[2] + top + bottom - weights.shape[2]) // down + 1
    return height, (values.shape[3] + left + right - weights.shape[3]) // across + 1


def _windows(
    padded: NDArray[Any], height: int, width: int, rows: int, columns: int, down: int, across: int
) -> Iterator[NDArray[Any]]:
    """``[B, rows, columns, C]`` for each place in the window."""
    for y, x in itertools.product(range(height), range(width)):
        part = padded[:, :, y : y + rows : down, x : x + columns : across]
        yield np.moveaxis(part, 1, -1)
