"""How long a step takes, found out by taking some that leave no trace."""

import contextlib
import time
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from distvae.checkpoint import Trained
from distvae.training.capture import Recorder
from distvae.training.engine import Engine
from distvae.training.plan import standstill
from distvae.training.players import turns

WARM_UP = 4
TIMED = 8
"""Steps, of each kind that is compared."""
REPEATED = 50
"""Steps that a device repeats while they are timed."""


def step_seconds(
    engines: Sequence[Engine], warm_up: int = WARM_UP, timed: int = TIMED
) -> list[float]:
    """Time of a whole step, with all that processes exchange, of each engine.

    They take turns, so that a machine that slows down slows all. The quickest step of each counts:
    whatever else runs on the machine makes a step slower, never quicker. Weights, moments and
    averages are put back afterwards. All processes call it together.

    Args:
        engines: of one run, which differ in how they compute.
        warm_up: first steps of each that are not counted.
        timed: steps of each that are.
    """
    seconds: list[list[float]] = [[] for _ in engines]
    batches = engines[0].probe_batches()
    taken = tuple(turns(engines[0].training.objective.players, 0))
    row = standstill(taken, engines[0].accelerator.device)
    with undone(engines[0].trained):
        for _ in range(warm_up + timed):
            for engine, took in zip(engines, seconds, strict=True):
                started = time.perf_counter()
                engine.update(taken, batches, row).values.tolist()  # waits for the device
                took.append(time.perf_counter() - started)
    return [min(took[warm_up:]) for took in seconds]


def repeated_seconds(engine: Engine, recorder: Recorder) -> float:
    """Time of a whole step as its device repeats it; what it changes is put back afterwards.

    Raises:
        NotCaptured: it cannot be recorded.
    """
    batches = engine.probe_batches()
    taken = tuple(turns(engine.training.objective.players, 0))
    row = standstill(taken, engine.accelerator.device)
    found = torch.zeros((), device=engine.accelerator.device)

    def step() -> None:
        found.copy_(engine.update(taken, batches, row).values.sum())

    with undone(engine.trained):
        repeat = recorder.record(step)
        repeat()
        found.item()
        started = time.perf_counter()
        repeat(REPEATED)
        found.item()  # waits for the device
        seconds = (time.perf_counter() - started) / REPEATED
        engine.wrapped.optimizer.zero_grad()
    return seconds


@contextlib.contextmanager
def undone(trained: Trained) -> Iterator[None]:
    """Whatever is done inside, the tensors of the training are the same afterwards, bit for bit."""
    held: dict[int, Tensor] = {}
    modules = [trained.model, trained.averaged, trained.objective, trained.guard]
    for module in filter(None, modules):
        held |= {id(value): value for value in (*module.parameters(), *module.buffers())}
    for state in trained.optimizer.state.values():
        held |= {id(value): value for value in state.values() if isinstance(value, Tensor)}
    before = {key: value.detach().clone() for key, value in held.items()}
    try:
        yield
    finally:
        with torch.no_grad():
            for key, value in held.items():
                value.copy_(before[key])
