"""Which library multiplies a run's matrices on a CPU: measured once for its shapes and machine.

A library rounds in its own way, so two runs are equal to the bit only with the same one. The choice
is kept in the cache of the machine, where all runs of these shapes find it, and in the run's
config.json, so that a resumed run does as before.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from distvae.data.cache import cache_folder
from distvae.errors import DistvaeError
from distvae.files import write_json
from distvae.platform import (
    BLAS,
    ONEDNN,
    multiplies,
    multiply_by,
    multiplying_by,
    onednn_is_exact,
    processor,
)
from distvae.reading import read_record
from distvae.records import WorldRecord
from distvae.training.engine import Engine
from distvae.training.world import gathered

Shape = tuple[int, int, int]
"""Rows, inputs and outputs of a dense layer."""
MARGIN = 1.1
"""How many times as fast the other library must be than the usual one of a machine."""
ROUNDS = 7
REPEATS = 4


@dataclass(frozen=True)
class Choice:
    """What a machine was found to be faster with."""

    library: str
    seconds: dict[str, float]
    """Of the products of all layers, forward and backward, by library."""


def choose_library(engine: Engine, earlier: WorldRecord | None = None) -> None:
    """Let the faster library multiply the matrices of a run on a CPU; it is told by torch's switch.

    All processes call it together and take the same.

    Args:
        engine: of the run.
        earlier: of a run that is gone on with, whose library stands where it is exact; one that
            does not say had the usual one.
    """
    accelerator = engine.accelerator
    shapes = sorted(set(_shapes(engine)))
    if accelerator.device.type != "cpu" or not shapes:
        return
    exact = all(gathered(accelerator, onednn_is_exact()))
    taken = earlier and (earlier.library or multiplies())
    if taken is None and exact:
        found = _of_machine(shapes, cache_folder(engine.config.data))
        taken = gathered(accelerator, found)[0]
    multiply_by(taken if taken == ONEDNN and exact else BLAS)


def _shapes(engine: Engine) -> Iterable[Shape]:
    """Of each dense layer that is trained, in a micro-batch of this process."""
    positions = engine.shards[0]
    for module in engine.training.modules():
        if isinstance(module, nn.Linear):
            yield positions.stop - positions.start, module.in_features, module.out_features


def _of_machine(shapes: list[Shape], cache: Path) -> str:
    """The library that was measured for these shapes on this machine, or is now."""
    key = {
        "processor": processor(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "usual": multiplies(),
        "shapes": shapes,
    }
    digest = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:16]
    path = cache / "products" / f"{digest}.json"
    known = _kept(path)
    if known is None:
        damaged, found = path.exists(), measured(shapes)
        with contextlib.suppress(OSError):  # then it is measured anew in the next run
            if damaged:
                path.unlink()
            _keep(path, {**dataclasses.asdict(found), **key})
        known = _kept(path) or found  # another process may have been quicker
    return known.library


def _kept(path: Path) -> Choice | None:
    with contextlib.suppress(DistvaeError):
        choice = read_record(path, Choice)
        return choice if choice.library in (ONEDNN, BLAS) else None
    return None


def _keep(path: Path, content: dict[str, object]) -> None:
    """Write a file that nobody has written; who was first stays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        write_json(Path(scratch, path.name), content)
        with contextlib.suppress(FileExistsError):
            os.link(Path(scratch, path.name), path)


def measured(shapes: Iterable[Shape]) -> Choice:
    """The usual library of this machine, or the other where that is faster by the margin."""
    usual = multiplies()
    other = BLAS if usual == ONEDNN else ONEDNN
    seconds = {usual: 0.0, other: 0.0}
    for shape in shapes:
        for library, spent in _times(shape, (usual, other)).items():
            seconds[library] += spent
    faster = seconds[usual] > MARGIN * seconds[other]
    return Choice(other if faster else usual, seconds)


@torch.no_grad()
def _times(shape: Shape, libraries: tuple[str, str]) -> dict[str, float]:
    """Seconds of a dense layer's three products by each library; the quickest of some rounds."""
    rows, inputs, outputs = shape
    x, weight, bias = torch.ones(rows, inputs), torch.ones(outputs, inputs), torch.ones(outputs)
    gradient = torch.ones(rows, outputs)
    best = dict.fromkeys(libraries, float("inf"))
    for _ in range(ROUNDS):
        for library in libraries:
            with multiplying_by(library):
                started = time.perf_counter()
                for _ in range(REPEATS):
                    _layer(x, weight, bias, gradient)
                best[library] = min(best[library], (time.perf_counter() - started) / REPEATS)
    return best


def _layer(x: Tensor, weight: Tensor, bias: Tensor, gradient: Tensor) -> None:
    nn.functional.linear(x, weight, bias)
    torch.mm(gradient, weight)
    torch.mm(gradient.t(), x)
