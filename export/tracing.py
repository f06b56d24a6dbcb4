"""From a module to an ONNX graph that any runtime reads.

Legend: B batch.
"""

import contextlib
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import onnx
import torch
from onnxscript import opset18
from torch import Tensor, nn

import distvae

OPSET = 18
"""Read by every ONNX Runtime since 1.14 (2023); nothing here needs a newer one."""
IR_VERSION = 8
"""The file format that came with opset 18; the exporter's own is refused by older runtimes."""


def exported(
    graph: nn.Module, inputs: dict[str, Tensor], outputs: list[str], step: int = 0
) -> onnx.ModelProto:
    """A module as a graph whose batch is free.

    Args:
        graph: takes the inputs in their order.
        inputs: an example of each by name; all but the first are what a batch is given ``[B]``.
        outputs: names of what it gives.
        step: sides of the first input are free too, as multiples of this; 0: they are not.
    """
    batch = torch.export.Dim("batch", min=1)
    first: dict[int, Any] = {0: batch}
    if step:
        count = next(iter(inputs.values())).dim() - 2
        names = ("slices", "rows", "columns")[-count:]
        sides = [torch.export.Dim(name, min=1) for name in names]
        first |= {axis: side if step == 1 else step * side for axis, side in enumerate(sides, 2)}
    others = len(inputs) - 1
    dynamic: tuple[Any, ...] = (first, *([({0: batch},) * others] if others else []))
    with _without_remarks(), torch.no_grad():
        program = torch.onnx.export(
            graph.eval(),
            tuple(inputs.values()),
            dynamo=True,
            opset_version=OPSET,
            dynamic_shapes=dynamic,
            external_data=False,
            verbose=False,
            custom_translation_table={torch.ops.aten.log_sigmoid.default: _log_sigmoid},
        )
    assert program is not None
    proto: onnx.ModelProto = program.model_proto
    _give_by_nodes(proto.graph)
    _name(proto.graph, [*inputs, *outputs])
    return clean(proto)


def _give_by_nodes(graph: onnx.GraphProto) -> None:
    """Outputs that are constants come from a node as others do: tools expect it."""
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for value in graph.output:
        if value.name in constants:
            inner = f"{value.name}.constant"
            for node in graph.node:
                node.input[:] = [inner if name == value.name else name for name in node.input]
            constants[value.name].name = inner
            graph.node.append(onnx.helper.make_node("Identity", [inner], [value.name]))


def _log_sigmoid(value: Any) -> Any:
    """Of any number: the exporter takes the logarithm of a sigmoid, which may be 0."""
    return opset18.Neg(opset18.Softplus(opset18.Neg(value)))


def _name(graph: onnx.GraphProto, names: list[str]) -> None:
    """Name inputs and outputs; what is called so within the graph gets another name.

    An attribute may be called as the exporter calls its values: ``cat``, ``exp``, ``linear``.
    """
    ends = [value.name for value in (*graph.input, *graph.output)]
    changes = dict(zip(ends, names, strict=True))
    inner = {name for node in graph.node for name in node.output}
    inner |= {tensor.name for tensor in graph.initializer}
    prefix = "inner."
    while any(name.startswith(prefix) for name in names):
        prefix += "."
    changes |= {name: prefix + name for name in inner.intersection(names).difference(ends)}
    for value in (*graph.input, *graph.output, *graph.initializer):
        value.name = changes.get(value.name, value.name)
    for node in graph.node:
        for values in (node.input, node.output):
            values[:] = [changes.get(name, name) for name in values]


def clean(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Without the exporter's remarks: stack traces, class names and paths of this machine."""
    del proto.metadata_props[:]
    proto.doc_string = ""
    _clean_graph(proto.graph)
    proto.graph.name = "distvae"
    proto.ir_version = IR_VERSION
    proto.producer_name, proto.producer_version = "distvae", distvae.__version__
    return proto


def _clean_graph(graph: onnx.GraphProto) -> None:
    """The same of a graph and of those that its nodes hold, such as the body of a loop."""
    del graph.metadata_props[:], graph.value_info[:]
    graph.doc_string = ""
    for item in (*graph.node, *graph.initializer, *graph.input, *graph.output):
        item.doc_string = ""
        del item.metadata_props[:]
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                _clean_graph(attribute.g)


@contextlib.contextmanager
def _without_remarks() -> Iterator[None]:
    """Silence what the exporter says of packages and of its own future."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
