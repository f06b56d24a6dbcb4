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
    engine.state.begin(plan)
    for number in range(plan.steps):
        take_step(engine, plan, number)


def take_step(engine: Engine, plan: Plan, number: int) -> None:
    """Take the step at which the state stands, and stand at the next.

    Args:
        engine: what a step is made of.
        plan: which the state has taken over.
        number: of the step in it, for what comes from the host: images that do not lie on the
            device, and noise that numpy draws. Else the step finds everything by the state.
    """
    state = engine.state
    rows = plan.rows[number] if engine.host_bound else state.rows
    step = plan.first + number if engine.noise.on_host else state.step
    batches = engine.batches(step, rows)
    state.note(engine.update(plan.turns, batches, state.numbers))
