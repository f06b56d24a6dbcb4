"""Several steps of a run at once, as one program on the device."""

import contextlib
from collections.abc import Iterator

from torch import Tensor

from distvae.batch import Batch
from distvae.training.capture import Repeat
from distvae.training.engine import Engine
from distvae.training.plan import Plan
from distvae.training.probing import undone


def advance(engine: Engine, plan: Plan) -> None:
    """Take the steps of a plan.

    Weights, moments and averages change, and the engine's state holds what each step found. Nothing
    is read back from the device, and of what is resident nothing goes over to it.

    Args:
        engine: what a step is made of.
        plan: of steps that follow those that were taken.

    Raises:
        DistvaeError: the step cannot be captured, and the run insists.
    """
    engine.state.begin(plan)
    engine.training.begin(plan.turns)
    repeat = _recorded(engine, plan)
    if repeat is None:
        for number in range(plan.steps):
            take_step(engine, plan, number)
    elif engine.fed:
        for number in range(plan.steps):
            engine.state.receive(_batches(engine, plan, number))
            repeat()
    else:
        repeat(plan.steps)


def take_step(engine: Engine, plan: Plan, number: int) -> None:
    """Take the step at which the state stands, and stand at the next.

    Args:
        engine: what a step is made of.
        plan: which the state has taken over.
        number: of the step in it, for what comes from the host: images that do not lie on the
            device, and noise that numpy draws. Else the step finds everything by the state.
    """
    _take(engine, plan, _batches(engine, plan, number))


def _batches(engine: Engine, plan: Plan, number: int) -> list[Batch]:
    state = engine.state
    rows = plan.rows[number] if engine.host_bound else state.rows
    step = plan.first + number if engine.noise.on_host else state.step
    return engine.batches(step, rows)


def _take(engine: Engine, plan: Plan, batches: list[Batch]) -> None:
    state = engine.state
    state.note(engine.update(plan.turns, batches, state.numbers))


def _recorded(engine: Engine, plan: Plan) -> Repeat | None:
    """What repeats a step of a plan; None where it is taken by its program."""
    if engine.graphs is None:
        return None
    size = plan.rows.shape[1] if isinstance(plan.rows, Tensor) else 0

    @contextlib.contextmanager
    def untouched() -> Iterator[None]:
        if engine.fed:
            engine.state.receive(engine.probe_batches())
        with undone(engine.trained):
            try:
                yield
            finally:  # a recording may have failed in the midst of a step
                engine.wrapped.optimizer.zero_grad()
                engine.accelerator.step = 0
        engine.state.begin(plan)

    def step() -> None:
        if engine.fed:
            _take(engine, plan, engine.state.received)
        else:
            take_step(engine, plan, 0)

    return engine.graphs.of((plan.turns, size, engine.update), step, untouched)
