"""How far honest rounding moves what a graph gives: the limits that its probe gets.

Processors add in other orders, fuse other operations and compute exp by other polynomials, so each
rounds a little otherwise. A deep network of integers may turn such a difference into whole grey
levels, since a value at the border of two integers falls on either side, and so do others after it.
A limit that suits all networks would be too narrow for such a one or too wide for the rest; so each
file is moved as rounding would, and what that does is measured.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from distvae.draws.philox import Stream
from distvae.draws.sequence import Numbers
from distvae.export.manifest import Manifest
from distvae.export.probe import Bounds, Probe, Values, bounds_of, computed, difference

DRAWS = 4
EPSILONS = {"float32": 2.0, "float16": 0.5}
"""By how many machine epsilons each weight moves, up or down: about what a sum's rounding moves.
Processors compute with half floats in float32, or round each result once."""
FACTOR = 2.0
"""Times the largest difference that was found: other machines are only guessed at."""


def measured_probe(path: Path, proto: onnx.ModelProto, manifest: Manifest) -> Probe:
    """The probe of a file that was written, with its limits.

    Args:
        path: the file, whole but for its probe.
        proto: the same with all weights in it.
        manifest: its manifest.
    """
    expected = computed(path, manifest)
    moved = list(_moved(path, proto, manifest))
    limits = {}
    for name, values in expected.items():
        off = max(difference(one[name], values, manifest) for one in moved)
        limits[name] = _limit(off, bounds_of(values))
    return Probe(expected, limits)


def _moved(path: Path, proto: onnx.ModelProto, manifest: Manifest) -> Iterator[Values]:
    """The values by the quick kernels, and with every floating-point weight moved at random.

    Single numbers stay: 255 moved up and rounded would be 256.
    """
    yield computed(path, manifest, optimized=True)
    for seed in range(DRAWS):
        random = Numbers(seed, Stream.ROUNDING)
        floats = {
            one.name: _shaken(numpy_helper.to_array(one), random)
            for one in proto.graph.initializer
            if one.dims and one.data_type in (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16)
        }
        yield computed(path, manifest, floats=floats)


def _shaken(values: NDArray[Any], random: Numbers) -> NDArray[Any]:
    step = EPSILONS[values.dtype.name] * float(np.finfo(values.dtype).eps)
    signs = random.integers(0, 2, values.shape) * 2 - 1
    most = float(np.finfo(values.dtype).max)  # which stands for infinity where masks are made
    shaken: NDArray[Any] = np.clip(values * (1.0 + step * signs), -most, most).astype(values.dtype)
    return shaken


def _limit(moved: float, bounds: Bounds) -> float:
    """In three digits, as nobody knows it better."""
    return float(f"{min(max(FACTOR * moved, bounds.least), bounds.most):.3g}")
