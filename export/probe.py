"""What a graph gives for a few inputs by seed, kept in its file: does this machine compute it so?

The values in the file are those of ONNX Runtime without its optimizations, which computes each
operation as it stands, integers in floats. A processor, provider or version whose quick kernels
give something else is found when the file is opened. Needs numpy and onnxruntime only.

Legend: N inputs, V values kept of each output.
"""

import base64
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from distvae.errors import DistvaeError
from distvae.export.manifest import Manifest
from distvae.noise import standard_normal
from distvae.reading import parse_json

KEY = "distvae.probe"
"""Metadata key; under it a JSON object of each output's values in base64."""
GREY_LEVELS = 5.0
"""Mean difference of an image up to which it is the same. Rounding of integers gave at most 0.3 in
trained networks and 3.6 in a deep one of random weights, weights of 8 bits on a processor without
VNNI 9 (see ``tests/benchmarks/README.md``)."""
POSTERIOR = 0.02
"""The same of a posterior, relative where a value exceeds one."""
_MOST, _PIXELS, _VALUES = 4, 2**14, 256
_SEED = 0
Values = dict[str, NDArray[Any]]


def probe_inputs(manifest: Manifest) -> tuple[Values, int]:
    """Inputs by seed, labels evenly over all, and how many: fewer of large images."""
    count = max(1, min(_MOST, _PIXELS // math.prod(manifest.image_shape[1:])))
    inputs: Values = {}
    if manifest.graph == "decoder":
        inputs["noise"] = standard_normal(_SEED, 0, count, manifest.noise_dim)
    else:
        pixels = math.prod(manifest.image_shape)
        words = np.random.Philox(key=_SEED).random_raw(-(-count * pixels // 8)).astype("<u8")
        inputs["image"] = words.view(np.uint8)[: count * pixels].reshape(
            count, *manifest.image_shape
        )
    if manifest.conditional:
        inputs["label"] = np.arange(count) * len(manifest.label_names) // count
    return inputs, count


def expected_values(path: Path, manifest: Manifest) -> Values:
    """Values ``[N, V]`` of each output, every operation computed as it stands."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    outputs = session.run(names, probe_inputs(manifest)[0])
    return {name: _thinned(values) for name, values in zip(names, outputs, strict=True)}


def to_json(values: Values) -> str:
    """For a file's metadata."""
    return json.dumps(
        {name: base64.b64encode(one.tobytes()).decode() for name, one in values.items()}
    )


def parse_probe(text: str, outputs: Mapping[str, NDArray[Any]], source: str) -> Values:
    """What a file's metadata says under :data:`KEY`, of the same types and shapes as ``outputs``.

    Raises:
        DistvaeError: it is none of ours.
    """
    try:
        facts = parse_json(text, KEY)
        return {
            name: np.frombuffer(base64.b64decode(facts[name], validate=True), like.dtype).reshape(
                like.shape
            )
            for name, like in outputs.items()
        }
    except (DistvaeError, ValueError, KeyError, TypeError) as error:
        raise DistvaeError(
            f"{source} is damaged", f"{KEY} in its metadata is not ours", "Export the run again."
        ) from error


def check_outputs(
    path: Path, manifest: Manifest, outputs: Mapping[str, NDArray[Any]], text: str | None
) -> None:
    """Compare what a session gave for the probe's inputs with what the file says.

    A file of integers without a probe, made by an earlier version, is compared with what its own
    graph gives without optimizations: its weights of 8 bits are wrong on some processors.

    Args:
        path: the file.
        manifest: its manifest.
        outputs: what the session gave for :func:`probe_inputs`, by name.
        text: what stands in the file's metadata, None where nothing does.

    Raises:
        DistvaeError: they differ by more than rounding.
    """
    found = {name: _thinned(values) for name, values in outputs.items()}
    if text is not None:
        expected = parse_probe(text, found, str(path))
    elif manifest.precision == "int8":
        expected = expected_values(path, manifest)
    else:
        return
    for name, values in found.items():
        off, allowed = _difference(values, expected[name])
        if not off <= allowed:
            unit = "grey levels" if values.dtype == np.uint8 else f"of {name}"
            raise DistvaeError(
                f"{path} is not computed right by onnxruntime {onnxruntime.__version__} here",
                f"the probe in it differs by {off:.3g} {unit}, at most {allowed:g} was expected",
                "Take the float32 file, or --provider cpu, or export the run again; --verify off "
                "takes it as it is.",
            )


def _difference(found: NDArray[Any], expected: NDArray[Any]) -> tuple[float, float]:
    """Largest mean difference of a row, and the most that is allowed."""
    off = np.abs(found.astype(np.float64) - expected)
    if found.dtype == np.uint8:
        return float(off.mean(axis=1).max()), GREY_LEVELS
    return float((off / np.maximum(1.0, np.abs(expected))).mean(axis=1).max()), POSTERIOR


def _thinned(values: NDArray[Any]) -> NDArray[Any]:
    """Evenly some of each row: ``[N, ...]`` to ``[N, V]``; an odd step meets all columns."""
    rows = values.reshape(len(values), -1)
    step = -(-rows.shape[1] // _VALUES)
    return rows[:, :: step if step == 1 else step | 1]
