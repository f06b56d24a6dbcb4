"""Opening an exported file for ONNX Runtime. Needs numpy and onnxruntime only."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from distvae.attributes import Attribute
from distvae.errors import DistvaeError, nearest
from distvae.export import probe
from distvae.export.checksum import check_file
from distvae.export.manifest import ENCODER, KEY, Manifest, parse_manifest
from distvae.export.outline import Outline, read_outline
from distvae.export.promised import TYPES, Found, Row, check_rows, constants_of, rows_of

PROVIDERS = {
    "cpu": ("CPUExecutionProvider", "onnxruntime"),
    "cuda": ("CUDAExecutionProvider", "onnxruntime-gpu"),
    "tensorrt": ("TensorrtExecutionProvider", "onnxruntime-gpu"),
    "coreml": ("CoreMLExecutionProvider", "onnxruntime on macOS"),
    "openvino": ("OpenVINOExecutionProvider", "onnxruntime-openvino"),
}
"""What computes: its name in ONNX Runtime, and the package that brings it."""
CHUNK_ROWS, CHUNK_PIXELS = 256, 2**18
"""Most images run at a time, and most of their pixels (channels not counted). All at once is a
fifth to a third slower, since its intermediate results leave the processor's caches (8192 images of
28 pixels a side on two cores, dense and convolutional)."""
EARLIER = "distvae.any_size"
"""Metadata key of files for images of any size from before they had a manifest."""
_FATAL = 4


@dataclass(frozen=True)
class Graph:
    """An open file: what it says of itself, and the session that runs it."""

    path: Path
    manifest: Manifest
    session: onnxruntime.InferenceSession
    chunk: int
    outputs: dict[str, Row]
    spared: bool = False
    """Whether the file was not compared with its checksum because it is large."""

    def run(self, inputs: dict[str, NDArray[Any]], rows: int) -> list[NDArray[Any]]:
        """The outputs, ``[rows, ...]`` each, for inputs that were checked; many rows in chunks."""
        names = list(self.outputs)
        if 0 < rows <= self.chunk:
            result: list[NDArray[Any]] = self.session.run(names, inputs)
            return result
        wholes = [np.empty((rows, *shape), TYPES[kind]) for kind, shape in self.outputs.values()]
        for start in range(0, rows, self.chunk):
            chunk = slice(start, start + self.chunk)
            parts = self.session.run(names, {name: array[chunk] for name, array in inputs.items()})
            for whole, part in zip(wholes, parts, strict=True):
                whole[chunk] = part
        return wholes


class Opened:
    """An exported file that is open: what :class:`Sampler` and :class:`Encoder` have in common."""

    kind: ClassVar[str]
    """``decoder``, ``encoder`` or ``score``, what is expected in the file."""

    def __init__(
        self,
        path: str | Path,
        provider: str = "cpu",
        threads: int | None = None,
        verify: bool | None = None,
    ) -> None:
        """Open a file.

        Args:
            path: the exported file.
            provider: cpu, cuda, tensorrt, coreml or openvino.
            threads: threads for one operation; ONNX Runtime's own number where None.
            verify: whether to compare the file with its checksum and what this machine computes
                with the file's probe; None spares files above 200 MB the checksum.

        Raises:
            DistvaeError: the file or the provider cannot be used (see :func:`open_graph`).
        """
        self._graph = open_graph(Path(path), self.kind, provider, threads, verify)

    @property
    def manifest(self) -> Manifest:
        """What the file says of itself."""
        return self._graph.manifest

    @property
    def spared(self) -> bool:
        """Whether the file was not compared with its checksum because it is large."""
        return self._graph.spared

    @property
    def label_names(self) -> tuple[str, ...]:
        """Names of the labels in the order of their numbers; empty for a model without labels."""
        return self._graph.manifest.label_names

    @property
    def attributes(self) -> tuple[Attribute, ...]:
        """What examples are given, where that is something else than one label."""
        return self._graph.manifest.attributes


def open_graph(
    path: Path,
    graph: str,
    provider: str = "cpu",
    threads: int | None = None,
    verify: bool | None = None,
) -> Graph:
    """Open an exported file.

    Nothing but the file itself has been opened when it is refused, also not what it says lies
    beside it.

    Args:
        path: the ONNX file.
        graph: ``decoder``, ``encoder`` or ``score``, what is expected in it.
        provider: one of :data:`PROVIDERS`; the processor does what another provider cannot.
        threads: threads for one operation; ONNX Runtime's own number where None.
        verify: whether to compare the file with its checksum, and what this machine computes with
            the file's probe; None spares files above 200 MB the checksum.

    Raises:
        DistvaeError: the file is missing, damaged, not ours or not as its manifest says, it names
            files outside its folder, the provider is not there, or it computes something else than
            the file's probe.
    """
    outline = read_outline(path)
    manifest = _manifest_in(outline, path)
    if manifest.graph != graph:
        article = "an" if manifest.graph == ENCODER else "a"
        raise DistvaeError(
            f"{path} is {article} {manifest.graph}",
            f"expected the {graph}",
            f"Name {graph}.onnx, which lies beside it.",
        )
    _check_locations(path, outline)
    spared = check_file(path, outline, verify)
    session, found_inputs, found_outputs = _session(path, provider, threads)
    inputs, outputs = rows_of(manifest)
    check_rows(path, "inputs", inputs, found_inputs)
    check_rows(path, "outputs", outputs, found_outputs, constants_of(manifest))
    chunk = max(1, min(CHUNK_ROWS, CHUNK_PIXELS // manifest.pixels))
    opened = Graph(path, manifest, session, chunk, outputs, spared)
    if verify is not False:
        _check_probe(opened, outline.metadata.get(probe.KEY))
    return opened


def read_manifest(path: Path) -> Manifest:
    """The manifest of a file, without opening it for ONNX Runtime.

    Raises:
        DistvaeError: the file is missing, damaged or not ours.
    """
    return _manifest_in(read_outline(path), path)


def _manifest_in(outline: Outline, path: Path) -> Manifest:
    if EARLIER in outline.metadata:
        raise DistvaeError(
            f"{path} is of an earlier version",
            "it does not say how far the network sees, by which tiles must overlap",
            "Export the run again: distvae export --onnx",
        )
    return parse_manifest(outline.metadata.get(KEY), str(path))


def _check_probe(graph: Graph, text: str | None) -> None:
    inputs, count = probe.probe_inputs(graph.manifest)
    outputs = dict(zip(graph.outputs, graph.run(inputs, count), strict=True))
    probe.check_outputs(graph.path, graph.manifest, outputs, text)


def _check_locations(path: Path, outline: Outline) -> None:
    """Weights too large for one file lie beside it; they may not lie anywhere else."""
    folder = path.resolve().parent
    for location in outline.locations:
        beside = (folder / location).resolve()  # follows links
        if not beside.is_relative_to(folder):
            raise DistvaeError(
                f"{path} keeps weights in {location}, outside its folder",
                "expected a file beside it; this one was not made by distvae export",
                "Do not use it.",
            )
        if not beside.is_file():
            raise DistvaeError(
                f"{location} is missing",
                f"{path} keeps its weights there",
                "Copy both files together.",
            )


def _session(
    path: Path, provider: str, threads: int | None
) -> tuple[onnxruntime.InferenceSession, dict[str, Found], dict[str, Found]]:
    """The session, its inputs and its outputs."""
    name = _provider_name(provider)
    if threads is not None and threads < 1:
        raise DistvaeError(f"threads is {threads}", "expected at least 1")
    # Otherwise as ONNX Runtime comes, which was measured to be fastest: as many threads as cores,
    # spinning between calls (1.6 times as fast for single images), an arena (2 times for 8192).
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _FATAL  # what is wrong is raised, and told once
    if threads is not None:
        options.intra_op_num_threads = threads
    try:
        session = onnxruntime.InferenceSession(
            str(path),
            options,
            providers=list(dict.fromkeys([name, "CPUExecutionProvider"])),
            enable_fallback=0,
        )
        inputs, outputs = (
            {value.name: (value.type, tuple(value.shape)) for value in values}
            for values in (session.get_inputs(), session.get_outputs())
        )
    except Exception as error:
        raise DistvaeError(
            f"{path} cannot be opened by onnxruntime {onnxruntime.__version__}",
            " ".join(str(error).split()),
            "Take another copy, export the run again, or upgrade onnxruntime.",
        ) from error
    if name not in session.get_providers():
        raise DistvaeError(
            f"provider {provider} does not start",
            f"onnxruntime has {name} but took {', '.join(session.get_providers())}",
            "Install its driver and libraries, or take --provider cpu.",
        )
    return session, inputs, outputs


def _provider_name(provider: str) -> str:
    if provider not in PROVIDERS:
        raise DistvaeError(
            f"provider {provider!r} is unknown",
            f"expected one of {', '.join(PROVIDERS)}",
            nearest(provider, PROVIDERS),
        )
    name, package = PROVIDERS[provider]
    available = onnxruntime.get_available_providers()
    if name not in available:
        known = [short for short, (long, _) in PROVIDERS.items() if long in available]
        raise DistvaeError(
            f"provider {provider} is not in this onnxruntime",
            f"it has {', '.join(known)}",
            f"{name} comes with the package {package}.",
        )
    return name
