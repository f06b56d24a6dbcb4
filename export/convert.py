"""From a trained model to ONNX graphs: noise to example, and example to posterior.

Legend: B batch, S the axes of an example, Z latent dimensions, L labels.
"""

import copy
import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import onnx
import onnxscript
import torch
from torch import Tensor, nn

import distvae
from distvae.export import probe
from distvae.export.checksum import append_checksum
from distvae.export.graphs import (
    CodesGraph,
    DecoderGraph,
    EncoderGraph,
    MapDecoderGraph,
    ScoreGraph,
)
from distvae.export.manifest import (
    BOOK,
    CODES,
    DECODER,
    ENCODER,
    KEY,
    LATENT_DECODER,
    LATENT_ENCODER,
    LATENTS,
    NOISE,
    POSTERIOR,
    SCORER,
    SCORES,
    AnySizeRecord,
    CodesRecord,
    LevelRecord,
    Manifest,
    parse_manifest,
)
from distvae.export.outline import metadata_entry
from distvae.export.rounding import measured_probe
from distvae.export.tracing import OPSET, exported
from distvae.files import replacing_file
from distvae.inference import for_inference
from distvae.latents.codes import CodeSpace
from distvae.latents.spatial import Spatial
from distvae.models import VAE
from distvae.tensors import checksum

MEAN = "mean_image"
"""Tensor in the decoder that holds the image in [0, 1] before it is rounded to grey levels, or the
vector while it is standardized."""
TRACED = (3, 5, 2)
"""Sides of the latents that a graph for any sides is traced with: numbers that nothing else has."""
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


def any_size_graphs(model: VAE, origin: Origin) -> Iterator[tuple[str, onnx.ModelProto]]:
    """Name and graph of what takes any height and width; nothing of latents at no place.

    ``latents`` ``[B, Z, H, W]``, as a diffusion model gives them, and ``label`` to ``image``, and
    ``image`` to its posterior; of volumes there is a depth before.
    """
    if not isinstance(model.latents, Spatial):
        return
    whole, (maps, *sides) = for_inference(model), model.latents.levels[0].shape
    name, (channels, side, *_), dtype = model.domain.field._replace(name=model.domain.tensor)
    factor, traced = side // sides[0], TRACED[: len(sides)]
    image = torch.zeros(
        2, channels, *(factor * each for each in traced), dtype=getattr(torch, dtype)
    )
    of_decoder, of_encoder = (
        dataclasses.replace(
            _manifest(graph, model, origin), any_size=AnySizeRecord(factor, network.reach)
        )
        for graph, network in ((LATENT_DECODER, model.decoder), (LATENT_ENCODER, model.encoder))
    )
    inputs = {LATENTS: torch.zeros(2, maps, *traced)}
    proto = _export(MapDecoderGraph(whole), of_decoder, inputs, [name, MEAN], 1)
    del proto.graph.output[1]
    yield f"{LATENT_DECODER}.onnx", described(proto, of_decoder)
    proto = _export(EncoderGraph(whole), of_encoder, {name: image}, [*POSTERIOR], factor)
    yield f"{LATENT_ENCODER}.onnx", described(proto, of_encoder)


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
    graph: nn.Module,
    manifest: Manifest,
    inputs: dict[str, Tensor],
    outputs: list[str],
    step: int = 0,
) -> onnx.ModelProto:
    given = {
        name: torch.zeros(2, dtype=getattr(torch, kind)) for name, kind in manifest.given.items()
    }
    return exported(graph, {**inputs, **given}, outputs, step)


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
