"""The plan of the next steps, a pure function of how many were taken.

Legend: n steps, S numbers of a step, B global batch.
"""

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from distvae.objectives import MODEL
from distvae.schedules import capacity, kl_weight
from distvae.training.engine import Engine
from distvae.training.plan import Plan, Rows, table_of
from distvae.training.players import Turn, learning_rates, same_turns, turns


def make_plan(
    engine: Engine,
    first: int,
    steps: int,
    rows: Rows | None = None,
    counts: Mapping[str, int] | None = None,
) -> Plan:
    """The plan of the next steps, or of the first of them where another player joins in between.

    Args:
        engine: what a step is made of.
        first: steps taken before.
        steps: n, of as many epochs as they reach into.
        rows: of the images to see; left out: those of each epoch's order.
        counts: steps that each player will have taken before these; left out: as many as it has,
            which waits for the device.
    """
    players = engine.training.objective.players
    steps = min(steps, same_turns(players, first))
    taken = tuple(turns(players, first))
    before = engine.wrapped.optimizer.counts() if counts is None else counts
    counting = dict(before)
    table = [list(_numbers(engine, step, taken, counting)) for step in range(first, first + steps)]
    numbers = table_of(table, engine.accelerator.device)
    rows = _rows(engine, first, steps) if rows is None else rows
    return Plan(first, taken, rows, numbers, before)


def following(engine: Engine, plan: Plan) -> Plan | None:
    """The plan after another one, as long as it, made before that is done; None at the run's end.

    For steps that always count: fp16, where some do not, is never captured.
    """
    steps = min(plan.steps, engine.total_steps - plan.end)
    counts = plan.counts_at(plan.steps)
    return make_plan(engine, plan.end, steps, counts=counts) if steps > 0 else None


def _rows(engine: Engine, first: int, steps: int) -> Rows:
    """The rows of these steps, epoch by epoch; what is left of one by whole batches is not seen."""
    size, per_epoch = engine.config.optim.batch, engine.steps_per_epoch
    parts: list[Tensor] = []
    ranges: list[range] = []
    step, end = first, first + steps
    while step < end:
        epoch, start = divmod(step, per_epoch)
        stop = min(per_epoch, start + end - step)
        rows = engine.order(epoch)[start * size : stop * size]
        if isinstance(rows, Tensor):
            parts.append(rows.view(-1, size))
        else:
            ranges += [rows[number : number + size] for number in range(0, len(rows), size)]
        step += stop - start
    return torch.cat(parts) if parts else ranges


def _numbers(
    engine: Engine, step: int, taken: Sequence[Turn], counts: dict[str, int]
) -> Iterator[float]:
    """A row of the table; ``counts`` are the steps of each player before, and are counted on."""
    optim, objective = engine.config.optim, engine.config.objective
    players, per_epoch = engine.training.objective.players, engine.steps_per_epoch
    # early on the average follows faster, so that it forgets the random start
    yield 1.0 - min(optim.ema, (1 + step) / (10 + step))
    yield kl_weight(objective, step, per_epoch)
    yield capacity(objective, step, per_epoch)
    yield float(step)
    rates = learning_rates(players, engine.parts, step, optim.peak_rate)
    betas = {name: player.betas for name, player in players.items()}
    for turn in taken:
        for name in turn:
            counts[name] += 1
            yield rates[name]
            yield from _corrections(betas[name], counts[name])


def scheduled(engine: Engine, step: int) -> dict[str, float]:
    """What the schedules say of a step, by the names of metrics.jsonl."""
    optim, objective = engine.config.optim, engine.config.objective
    rates = learning_rates(engine.training.objective.players, engine.parts, step, optim.peak_rate)
    weight = kl_weight(objective, step, engine.steps_per_epoch)
    *_, last = turns(engine.training.objective.players, step)
    return {"learning_rate": rates[MODEL if MODEL in last else last[0]], "kl_weight": weight}


def _corrections(betas: tuple[float, float], count: int) -> Iterator[float]:
    """What the moments are multiplied by in a player's ``count``-th step."""
    yield from (1.0 / (1.0 - beta**count) for beta in betas)
