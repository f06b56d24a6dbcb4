"""Which library multiplies a run's matrices on a CPU: measured once for its shapes and machine.

A library rounds in its own way, so two runs are equal to the bit only with the same one. The choice
is kept in the cache of the machine, where all runs of these shapes find it, and in the run's
config.json, so that a resumed run does as before. A compiled step has one choice more, the kernel
of this package.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import statistics
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
from distvae.training import kernel
from distvae.training.engine import Engine
from distvae.training.world import gathered

Shape = tuple[int, int, int]
"""Rows, inputs and outputs of a dense layer."""
MARGIN = 1.1
"""How many times as fast another library must be than the usual one of a machine."""
OWN = "own"
"""The kernel of this package, as a choice beside the libraries."""
CALLS, ROUNDS = 50, 5
"""Of each product in each way, and how often the ways take turns."""
STEADY = 1.5
"""How many times the quickest call the middle one may take, for a choice that stands.

Where other programs use the processors it takes longer, and either way may seem the faster."""


@dataclass(frozen=True)
class Choice:
    """What a machine was found to be faster with."""

    library: str
    """Or :data:`OWN`."""
    seconds: dict[str, float]
    """Of the products of all layers, forward and backward, by library: each the quickest call."""
    steady: bool = True
    """Whether nothing else used the processors; else it is measured anew in the next run."""


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
        usual = multiplies()
        other = BLAS if usual == ONEDNN else ONEDNN
        found = _of_machine(shapes, cache_folder(engine.config.data), usual, other)
        taken = gathered(accelerator, found)[0]
    multiply_by(taken if taken == ONEDNN and exact else BLAS)


def own_is_faster(engine: Engine) -> bool:
    """Whether the kernel of this package multiplies faster in a step than the library.

    All processes call it together and find the same.
    """
    accelerator, optim = engine.accelerator, engine.config.optim
    shapes = sorted(set(_shapes(engine)))
    if accelerator.device.type != "cpu" or not shapes or optim.mixed_precision != "no":
        return False
    if not all(gathered(accelerator, kernel.works())):
        return False
    found = _of_machine(shapes, cache_folder(engine.config.data), multiplies(), OWN)
    taken: str = gathered(accelerator, found)[0]
    return taken == OWN


def _shapes(engine: Engine) -> Iterable[Shape]:
    """Of each dense layer that is trained, in a micro-batch of this process."""
    positions = engine.shards[0]
    for module in engine.training.modules():
        if isinstance(module, nn.Linear):
            yield positions.stop - positions.start, module.in_features, module.out_features


def _of_machine(shapes: list[Shape], cache: Path, usual: str, other: str) -> str:
    """Which of two was measured for these shapes on this machine, or is now."""
    key = {
        "processor": processor(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "usual": usual,
        "calls": CALLS,
        "shapes": shapes,
        **({"other": kernel.version()} if other == OWN else {}),
    }
    digest = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:16]
    path = cache / "products" / f"{digest}.json"
    known = _kept(path, usual, other)
    if known is None:
        useless, found = path.exists(), measured(shapes, usual, other)
        with contextlib.suppress(OSError):  # then it is measured anew in the next run
            if useless:
                path.unlink()
            _keep(path, {**dataclasses.asdict(found), **key})
        known = _kept(path, usual, other) or found  # another process may have been quicker
    return known.library


def _kept(path: Path, *known: str) -> Choice | None:
    with contextlib.suppress(DistvaeError):
        choice = read_record(path, Choice)
        return choice if choice.library in known and choice.steady else None
    return None


def _keep(path: Path, content: dict[str, object]) -> None:
    """Write a file that nobody has written; who was first stays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        write_json(Path(scratch, path.name), content)
        with contextlib.suppress(FileExistsError):
            os.link(Path(scratch, path.name), path)


def measured(shapes: Iterable[Shape], usual: str, other: str) -> Choice:
    """The usual way of this machine to multiply, or the other where that is faster.

    A library must be faster by the margin. The kernel gains more within a step, where one product
    follows the other, than it does here.

    Args:
        shapes: of the layers.
        usual: a library.
        other: a library or :data:`OWN`.
    """
    calls = [times for shape in shapes for times in _times(shape, (usual, other))]
    seconds = {way: sum(min(times[way]) for times in calls) for way in (usual, other)}
    middle = {way: sum(statistics.median(times[way]) for times in calls) for way in (usual, other)}
    steady = all(middle[way] <= STEADY * seconds[way] for way in seconds)
    faster = seconds[usual] > (1.0 if other == OWN else MARGIN) * seconds[other]
    return Choice(other if faster else usual, seconds, steady)


@torch.no_grad()
def _times(shape: Shape, ways: tuple[str, str]) -> list[dict[str, list[float]]]:
    """Seconds of each call of each of a dense layer's three products, by the way it is made."""
    rows, inputs, outputs = shape
    x, weight = torch.ones(rows, inputs), torch.ones(outputs, inputs)
    gradient = torch.ones(rows, outputs)
    times = []
    for left, right in (x, weight.t()), (gradient, weight), (gradient.t(), x):
        out = left.new_empty(len(left), right.shape[1])
        taken: dict[str, list[float]] = {way: [] for way in ways}
        for way in ways * ROUNDS:
            with multiplying_by(way) if way != OWN else contextlib.nullcontext():
                multiply = kernel.multiply if way == OWN else _by_library
                multiply(left, right, out)
                for _ in range(CALLS // ROUNDS):
                    started = time.perf_counter()
                    multiply(left, right, out)
                    taken[way].append(time.perf_counter() - started)
        times.append(taken)
    return times


def _by_library(left: Tensor, right: Tensor, out: Tensor) -> None:
    torch.mm(left, right, out=out)
