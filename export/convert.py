"""From a trained model to ONNX graphs: noise to example, and example to posterior.

Legend: B batch, S the axes of an example, Z latent dimensions, L labels.
"""

import contextlib
import copy
import dataclasses
import logging
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import onnxscript
import torch
from onnxscript import opset18
from torch import Tensor, nn

import distvae
from distvae.export import probe
from distvae.export.checksum import append_checksum
from distvae.export.graphs import CodesGraph, DecoderGraph, EncoderGraph, ScoreGraph
from distvae.export.manifest import (
    BOOK,
    CODES,
    DECODER,
    ENCODER,
    KEY,
    NOISE,
    SCORER,
    SCORES,
    CodesRecord,
    LevelRecord,
    Manifest,
    parse_manifest,
)
from distvae.export.outline import metadata_entry
from distvae.export.rounding import measured_probe
from distvae.files import replacing_file
from distvae.inference import for_inference
from distvae.latents.codes import CodeSpace
from distvae.models import VAE
from distvae.tensors import checksum

OPSET = 18
"""Read by every ONNX Runtime since 1.14 (2023); nothing here needs a newer one."""
IR_VERSION = 8
"""The file format that came with opset 18; the exporter's own is refused by older runtimes."""
MEAN = "mean_image"
"""Tensor in the decoder that holds the image in [0, 1] before it is rounded to grey levels, or the
vector while it is standardized."""
LARGEST_FILE = 2_000_000_000
"""Bytes of weights that still fit into the file itself: protobuf ends at 2 GiB."""


@dataclass(frozen=True)
class Origin:
    """What the manifest of an exported model tells of its run."""

    settings: dict[str, object]
    data: dict[str, object]


def decoder_graph(model: VAE, origin: Origin) -> onnx.ModelProto:
    """``noise`` float32 and ``label`` int64 to ``image`` uint8 or ``values`` float32.

    Only what every runtime has is in it; random numbers come from outside.
    """
    manifest = _manifest(DECODER, model, origin)
    inputs = {"noise": torch.zeros(2, manifest.noise_dim)}
    outputs = [manifest.example.name, MEAN]
    proto = _export(DecoderGraph(for_inference(model)), manifest, inputs, outputs)
    del proto.graph.output[1]
    return described(proto, manifest)


def encoder_graph(model: VAE, origin: Origin, noise: bool = False) -> onnx.ModelProto:
    """``image`` or ``values``, and ``label``, to ``mean`` and ``log_variance`` of each level.

    With ``noise`` it also gives a noise that the decoder turns into these means, where the model
    can tell one. A small error of a mean may be a large one of the noise: for float32 alone. Of
    latents that are codes it also gives their numbers, and the book.
    """
    noise = noise and model.latents.finds_noise
    simple = for_inference(model)
    space = simple.latents
    outputs = [NOISE] if noise else []
    graph: nn.Module = EncoderGraph(simple, noise)
    codes = None
    if isinstance(space, CodeSpace):
        graph, outputs = CodesGraph(simple, space), [CODES, BOOK]
        codes = CodesRecord(space.grid, space.codes, space.width)
    manifest = _manifest(ENCODER, model, origin)
    manifest = dataclasses.replace(manifest, gives_noise=noise, codes=codes)
    name, shape, dtype = manifest.example
    inputs = {name: torch.zeros(2, *shape, dtype=getattr(torch, dtype))}
    outputs = [*(name for parts in manifest.posteriors.values() for name in parts), *outputs]
    proto = _export(graph, manifest, inputs, outputs)
    return described(proto, manifest)


def score_graph(model: VAE, origin: Origin) -> onnx.ModelProto:
    """``image`` or ``values``, and ``label``, to ``distortion``, ``rate`` and ``score``."""
    manifest = _manifest(SCORER, model, origin)
    name, shape, dtype = manifest.example
    inputs = {name: torch.zeros(2, *shape, dtype=getattr(torch, dtype))}
    # a simpler form, as of the decoder, has no densities
    whole = copy.deepcopy(model).cpu().eval().requires_grad_(False)
    proto = _export(ScoreGraph(whole), manifest, inputs, list(SCORES))
    return described(proto, manifest)


def write_graph(proto: onnx.ModelProto, path: Path, largest: int = LARGEST_FILE) -> None:
    """Check a graph and write it, whole or not at all; the same graph gives the same bytes.

    Weights of more than ``largest`` bytes go to ``path`` + ``.data``, beside the file. A probe and
    a checksum are added (see :mod:`distvae.export.rounding` and :mod:`distvae.export.checksum`).
    """
    with replacing_file(path) as temporary:
        beside = _write_unchecked(proto, path, temporary, largest)
        found = measured_probe(temporary, proto, manifest_of(proto))
        with temporary.open("ab") as file:
            file.write(metadata_entry(probe.KEY, probe.to_json(found)))
        append_checksum(temporary, beside)


def _write_unchecked(
    proto: onnx.ModelProto, path: Path, temporary: Path, largest: int
) -> list[Path]:
    """Write a graph for ``path`` to ``temporary``; gives the files beside it."""
    if proto.ByteSize() <= largest:
        temporary.write_bytes(proto.SerializeToString(deterministic=True))
        onnx.checker.check_model(proto, full_check=True)
        return []
    copied = onnx.ModelProto()
    copied.CopyFrom(proto)
    data = path.with_name(path.name + ".data")
    data.unlink(missing_ok=True)
    onnx.save_model(copied, str(temporary), save_as_external_data=True, location=data.name)
    onnx.checker.check_model(str(temporary), full_check=True)
    return [data]


def manifest_of(proto: onnx.ModelProto) -> Manifest:
    """What a graph says of itself."""
    entries = {entry.key: entry.value for entry in proto.metadata_props}
    return parse_manifest(entries.get(KEY), "the graph")


def _export(
    graph: nn.Module, manifest: Manifest, inputs: dict[str, Tensor], outputs: list[str]
) -> onnx.ModelProto:
    given = {
        name: torch.zeros(2, dtype=getattr(torch, kind)) for name, kind in manifest.given.items()
    }
    inputs = {**inputs, **given}
    batch = torch.export.Dim("batch", min=1)
    dynamic: tuple[Any, ...] = ({0: batch}, *([({0: batch},) * len(given)] if given else []))
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


def _manifest(graph: str, model: VAE, origin: Origin) -> Manifest:
    config = model.config
    levels = tuple(LevelRecord(level.name, level.shape) for level in model.latents.levels)
    one_vector = len(levels) == 1 and len(levels[0].shape) == 1
    return Manifest(
        domain=model.domain,
        graph=graph,
        precision="fp32",
        noise_dim=model.latents.noise_dim,
        latent_dim=sum(level.size for level in model.latents.levels),
        label_names=model.label_names,
        prior=str(config.prior),
        likelihood=config.likelihood or "bernoulli",
        network=str(config.network),
        settings=origin.settings,
        data=origin.data,
        weights_sha256=checksum(model.state_dict()),
        opset=OPSET,
        versions={
            "distvae": distvae.__version__,
            "torch": torch.__version__,
            "onnx": onnx.__version__,
            "onnxscript": onnxscript.__version__,
        },
        attributes=() if model.label_names else model.attributes,
        levels=() if one_vector else levels,
    )


def described(proto: onnx.ModelProto, manifest: Manifest) -> onnx.ModelProto:
    """The graph with this manifest and no other metadata."""
    onnx.helper.set_model_props(proto, {KEY: manifest.to_json()})
    return proto


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
