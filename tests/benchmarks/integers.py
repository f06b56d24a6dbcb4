"""What weights of 8 and 7 bits, signed and not, cost, here and on a processor without VNNI.

    python tests/benchmarks/integers.py RUN... [--qemu qemu-x86_64]

Each run is exported in each way; error, judge, size and speed are measured here, and with QEMU's
user mode emulation (package qemu-user, 7.2 or newer) the same files are run on a Haswell, which has
AVX2 only. The last column is the largest mean error of decoder and encoder there.
"""

import argparse
import functools
import importlib
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

import distvae
from distvae.export import probe
from distvae.export.session import read_manifest

WAYS: dict[str, dict[str, Any]] = {
    "8 bits": {"reduce_range": False},
    "7 bits": {"reduce_range": True},
    "8 bits unsigned": {"reduce_range": False, "unsigned": True},
}
HOME = Path(distvae.__file__).resolve().parent.parent
ROUNDS, IMAGES = 15, 256


def export_all(name: str, folder: Path) -> dict[str, list[Path]]:
    """Decoder and encoder in float32 and in each way, as files."""
    from onnxruntime.quantization import QuantType

    from distvae.data.store import open_data
    from distvae.export.command import origin_of
    from distvae.export.convert import decoder_graph, encoder_graph, write_graph
    from distvae.export.price import calibration
    from distvae.models import VAE
    from distvae.runs import find_run

    quantize: Any = importlib.import_module("distvae.export.quantize")
    run = find_run(name)
    model, origin = VAE.from_pretrained(run.model), origin_of(run)
    graphs = [decoder_graph(model, origin), encoder_graph(model, origin)]
    feeds = calibration(model, open_data(run.config().data))
    files: dict[str, list[Path]] = {}
    original: Any = quantize.quantize_static
    for way, options in {"float32": None, **WAYS}.items():
        files[way] = [folder / f"{way}-{part}.onnx" for part in ("decoder", "encoder")]
        for path, graph, feed in zip(files[way], graphs, feeds, strict=True):
            proto = graph
            if options is not None:
                quantize.quantize_static = functools.partial(
                    _in_a_way, original, QuantType, options
                )
                proto = quantize.integer(graph, feed)
            write_graph(proto, path)
    quantize.quantize_static = original
    return files


def _in_a_way(original: Any, kinds: Any, way: dict[str, Any], *given: Any, **options: Any) -> None:
    options["reduce_range"] = way["reduce_range"]
    if way.get("unsigned"):
        options["weight_type"] = kinds.QUInt8
        options["extra_options"] = {**options["extra_options"], "WeightSymmetric": True}
    original(*given, **options)


def session(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def outputs(path: Path) -> list[NDArray[Any]]:
    """What a file gives for its probe's inputs."""
    found: list[NDArray[Any]] = session(path).run(None, probe.probe_inputs(read_manifest(path))[0])
    return found


def elsewhere(qemu: str, path: Path) -> list[NDArray[Any]]:
    """The same on an emulated processor with AVX2 and without VNNI."""
    to = path.with_suffix(".npz")
    subprocess.run(
        [qemu, "-cpu", "Haswell", os.path.realpath(sys.executable), __file__, "--draw", path, to],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path, str(HOME)])},
        stderr=subprocess.DEVNULL,
        check=True,
    )
    with np.load(to) as arrays:
        return [arrays[name] for name in arrays.files]


def error(found: list[NDArray[Any]], exact: list[NDArray[Any]]) -> float:
    """Largest mean difference of an output; of an image in [0, 1]."""
    return max(
        float(np.abs(one.astype(np.float64) - other).mean()) / (255 if one.dtype == np.uint8 else 1)
        for one, other in zip(found, exact, strict=True)
    )


def images_per_second(paths: dict[str, Path]) -> dict[str, float]:
    """Of each decoder on one thread: the best of interleaved rounds."""
    sessions = {way: session(path) for way, path in paths.items()}
    manifest = read_manifest(next(iter(paths.values())))
    feed: dict[str, NDArray[Any]] = {"noise": np.zeros((IMAGES, manifest.noise_dim), np.float32)}
    if manifest.conditional:
        feed["label"] = np.arange(IMAGES) % len(manifest.label_names)
    seconds: dict[str, list[float]] = {way: [] for way in paths}
    for _ in range(ROUNDS):
        for way, one in sessions.items():
            start = time.perf_counter()
            one.run(None, feed)
            seconds[way].append(time.perf_counter() - start)
    return {way: IMAGES / min(times) for way, times in seconds.items()}


def measure(name: str, qemu: str | None) -> None:
    """Print the rows of one run."""
    with tempfile.TemporaryDirectory() as scratch:
        files = export_all(name, Path(scratch))
        speeds = images_per_second({way: decoder for way, (decoder, _) in files.items()})
        exact = [outputs(path) for path in files["float32"]]
        for way, paths in files.items():
            here = [error(outputs(path), one) for path, one in zip(paths, exact, strict=True)]
            cells = [name, way, f"{paths[0].stat().st_size / 1e6:.2f}", f"{speeds[way]:,.0f}"]
            cells += [f"{one:.1e}" for one in here]
            if qemu is not None:
                there = [
                    error(elsewhere(qemu, path), one)
                    for path, one in zip(paths, exact, strict=True)
                ]
                cells += [f"{one:.1e}" for one in there]
            print(f"| {' | '.join(cells)} |", flush=True)


def main() -> None:
    """Read the flags and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="*")
    parser.add_argument("--qemu")
    parser.add_argument("--draw", nargs=2, type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.draw:
        np.savez(given.draw[1], *outputs(given.draw[0]))
    for name in given.runs:
        measure(name, given.qemu)


if __name__ == "__main__":
    main()
