"""Several steps of a run at once, as one program on the device."""

from distvae.training.engine import Engine
from distvae.training.plan import Plan


def advance(engine: Engine, plan: Plan) -> None:
    """Take the steps of a plan.

    Weights, moments and averages change, and the engine's state holds what each step found. Nothing
    is read back from the device, and of what is resident nothing goes over to it.

    Args:
        engine: what a step is made of.
        plan: of steps that follow those that were taken.
    """
    state = engine.state
    state.cursor.zero_()
    for number in range(plan.steps):
        batches = engine.batches(plan.first + number, plan.rows_of(number, state.cursor))
        row = plan.numbers.index_select(0, state.cursor)[0]
        state.note(engine.update(plan.turns, batches, row))
