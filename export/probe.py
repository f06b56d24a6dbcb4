"""What a graph gives for a few inputs by seed, kept in its file: does this machine compute it so?

The values in the file are those of ONNX Runtime without its optimizations, which computes each
operation as it stands, integers in floats. A processor, provider or version whose quick kernels
give something else is found when the file is opened. Beside the values stands how far each output
may be off, measured when the file was made (see :mod:`distvae.export.rounding`): honest rounding
moves deep networks of integers further than others. Needs numpy and onnxruntime only.

Legend: N inputs, V values kept of each output.
"""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from distvae.draws.normals import standard_normal
from distvae.errors import DistvaeError
from distvae.export.manifest import (
    BOOK,
    CODES,
    DECODER,
    LATENT_DECODER,
    LATENTS,
    NOISE,
    Manifest,
)
from distvae.reading import parse_json
from distvae.values import Within, coerce

KEY = "distvae.probe"
"""Metadata key; under it a JSON object of each output's values in base64."""
LIMITS = "limits"
"""Key of that object under which the limits stand, by name of the output."""


@dataclass(frozen=True)
class Bounds:
    """Which limits an output may have: on the largest mean difference of a row."""

    least: float
    """Of a network that rounding moves less, so of nearly all."""
    most: float
    """A file that asks for more is not believed."""
    unmeasured: float
    """Of files of earlier versions, which hold no limit."""


GREY_LEVELS = Bounds(2.0, 6.0, 5.0)
"""Of whole numbers. Honest rounding of integers gave at most 0.3 in trained networks and 3.6 in a
deep one of random weights, weights of 8 bits on a processor without VNNI 9 (see
``tests/benchmarks/README.md``)."""
POSTERIOR = Bounds(0.01, 0.05, 0.02)
"""Of posteriors, relative where a value exceeds one; of other numbers, in the domain's unit."""
COARSE = 1e-4
"""Of a number, added to its unit: the bits of a number far from 0 round more coarsely than it may
vary."""
UNPROBED = (NOISE, CODES, BOOK)
"""Outputs that are not compared: a mixture's noise leaps where two components are as likely, so
rounding may move it far, and the mean tells what codes stand for."""
_MOST, _PIXELS, _VALUES = 4, 2**14, 256
_SEED = 0
Values = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Probe:
    """What a file holds under :data:`KEY`."""

    values: Values
    """``[N, V]`` of each output."""
    limits: dict[str, float]
    """Largest mean difference of a row that is rounding, of each output."""


def probe_inputs(manifest: Manifest) -> tuple[Values, int]:
    """Inputs by seed, labels evenly over all, and how many: fewer of large images.

    Of several attributes each is given, numbers at their mean.
    """
    count = max(1, min(_MOST, _PIXELS // manifest.pixels))
    inputs: Values = {}
    if manifest.graph == DECODER:
        inputs[NOISE] = standard_normal(_SEED, 0, count, manifest.noise_dim)
    elif manifest.graph == LATENT_DECODER:
        flat = standard_normal(_SEED, 0, count, manifest.latent_dim)
        inputs[LATENTS] = flat.reshape(count, *manifest.levels[0].shape)
    else:
        inputs[manifest.example.name] = manifest.domain.made_up(_SEED, count)
    if manifest.label_names:
        inputs["label"] = np.arange(count) * len(manifest.label_names) // count
    for name, each in zip(manifest.given, manifest.attributes, strict=bool(manifest.attributes)):
        evenly = np.arange(count) * len(each.labels) // count
        inputs[name] = evenly if each.labels else np.full(count, each.mean, np.float32)
    return inputs, count


def computed(
    path: Path,
    manifest: Manifest,
    optimized: bool = False,
    floats: Mapping[str, NDArray[Any]] | None = None,
) -> Values:
    """Values ``[N, V]`` of each output on this machine's processor, but for ``UNPROBED``.

    Args:
        path: the file.
        manifest: its manifest.
        optimized: by ONNX Runtime's quick kernels; else each operation as it stands.
        floats: initializers to take in place of the file's, by name.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    if not optimized:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    kept = [  # the session refers to them
        (name, onnxruntime.OrtValue.ortvalue_from_numpy(value))
        for name, value in (floats or {}).items()
    ]
    for name, value in kept:
        options.add_initializer(name, value)
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs() if output.name not in UNPROBED]
    outputs = session.run(names, probe_inputs(manifest)[0])
    return {name: thinned(values) for name, values in zip(names, outputs, strict=True)}


def bounds_of(values: NDArray[Any]) -> Bounds:
    """Which limits an output of this type may have."""
    return GREY_LEVELS if values.dtype.kind in "iu" else POSTERIOR


def difference(found: NDArray[Any], expected: NDArray[Any], manifest: Manifest) -> float:
    """Largest mean difference of a row, of ``[N, V]`` both, in the unit of their bounds."""
    off = np.abs(found.astype(np.float64) - expected)
    draws = manifest.graph in (DECODER, LATENT_DECODER)
    if draws and (levels := manifest.domain.levels):
        off *= 255.0 / (levels - 1)
    elif draws:
        off /= thinned(manifest.domain.scale[None]) + COARSE * np.abs(expected)
    else:
        off /= np.maximum(1.0, np.abs(expected))
    return float(off.mean(axis=1).max())


def to_json(probe: Probe) -> str:
    """For a file's metadata."""
    values = {name: base64.b64encode(one.tobytes()).decode() for name, one in probe.values.items()}
    return json.dumps({**values, LIMITS: probe.limits})


def parse_probe(text: str, outputs: Mapping[str, NDArray[Any]], source: str) -> Probe:
    """What a file's metadata says under :data:`KEY`, of the same types and shapes as ``outputs``.

    Raises:
        DistvaeError: it is none of ours, or a limit is out of its bounds.
    """
    try:
        facts = parse_json(text, KEY)
        values = {
            name: np.frombuffer(base64.b64decode(facts[name], validate=True), like.dtype).reshape(
                like.shape
            )
            for name, like in outputs.items()
        }
        limits = {name: bounds_of(like).unmeasured for name, like in outputs.items()}
        if LIMITS in facts:
            limits = {
                name: _limit(name, facts[LIMITS][name], bounds_of(like))
                for name, like in outputs.items()
            }
    except (DistvaeError, ValueError, KeyError, TypeError) as error:
        raise DistvaeError(
            f"{source} is damaged", f"{KEY} in its metadata is not ours", "Export the run again."
        ) from error
    return Probe(values, limits)


def _limit(name: str, value: Any, bounds: Bounds) -> float:
    kind = Annotated[float, Within(0.0, bounds.most)]
    limit: float = coerce(f"{LIMITS}.{name}", value, kind, KEY)
    return limit


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
    found = {name: thinned(values) for name, values in outputs.items() if name not in UNPROBED}
    if text is not None:
        expected = parse_probe(text, found, str(path))
    elif manifest.precision == "int8":
        limits = {name: bounds_of(values).unmeasured for name, values in found.items()}
        expected = Probe(computed(path, manifest), limits)
    else:
        return
    for name, values in found.items():
        off = difference(values, expected.values[name], manifest)
        allowed = expected.limits[name]
        if not off <= allowed:
            unit = "grey levels of 256" if values.dtype.kind == "u" else f"of {name}"
            raise DistvaeError(
                f"{path} is not computed right by onnxruntime {onnxruntime.__version__} here",
                f"the probe in it differs by {off:.3g} {unit}, at most {allowed:g} was expected",
                "Take the float32 file, or --provider cpu, or export the run again; --verify off "
                "takes it as it is.",
            )


def thinned(values: NDArray[Any]) -> NDArray[Any]:
    """Evenly some of each row: ``[N, ...]`` to ``[N, V]``; an odd step meets all columns."""
    rows = values.reshape(len(values), -1)
    step = -(-rows.shape[1] // _VALUES)
    return rows[:, :: step if step == 1 else step | 1]
