"""What steps take from the host and what they give back, as tables on the device.

A plan is made on the host. The state holds room for one on the device, always the same, so that a
step that was recorded finds the next plan where it found the one before.

Legend: n steps, S numbers of a step, M micro-batches of a process, F numbers of a loss, B global
batch.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from distvae.batch import Batch
from distvae.objectives import Pressure, Summary
from distvae.training.capture import WARM_UP_BETWEEN_PROCESSES
from distvae.training.players import Turn

MOST_STEPS = 4096
"""Of one plan."""
MOST_ROWS = 2**22
"""Of one plan, which are 32 MiB."""
Rows = Tensor | Sequence[range]
"""Numbers of images by step: int64 ``[n, B]`` of a split that is resident, n ranges of one that is
streamed."""


def most_steps(batch: int) -> int:
    """How many steps of this global batch a plan holds at most."""
    return min(MOST_STEPS, max(1, MOST_ROWS // batch))


class Scales(NamedTuple):
    """What AdamW takes of a player in one of its turns; scalars."""

    rate: Tensor
    """Learning rate."""
    mean: Tensor
    """1 / (1 - beta1^t) of the player's t-th step, by which the first moment is corrected."""
    square: Tensor
    """The same of the second moment."""


class Numbers(NamedTuple):
    """What changes from step to step; scalars on the device."""

    averaging: Tensor
    """How far the moving average goes to the new weights, float32."""
    pressure: Pressure
    """What the schedules say, float32."""
    scales: tuple[dict[str, Scales], ...]
    """By turn and player, in the type of the table."""


LEADING = 1 + len(Pressure._fields)
"""Numbers of a step before those of its turns."""


def numbers_of(row: Tensor, turns: Sequence[Turn]) -> Numbers:
    """The numbers of a step by name, views of its row ``[S]`` of the table."""
    averaging, *pressure = row[:LEADING].float().unbind()
    rest = iter(row[LEADING:].unbind())
    scales = tuple(
        {name: Scales(next(rest), next(rest), next(rest)) for name in turn} for turn in turns
    )
    return Numbers(averaging, Pressure(*pressure), scales)


def table_of(rows: Sequence[Sequence[float]], device: torch.device) -> Tensor:
    """The numbers of several steps ``[n, S]``, on the host, in the type for a device.

    On a CPU AdamW takes its learning rate in double precision, elsewhere in single.
    """
    kind = torch.float64 if device.type == "cpu" else torch.float32
    return torch.tensor(rows, dtype=kind)


def standstill(turns: Sequence[Turn], device: torch.device) -> Tensor:
    """Numbers ``[S]`` of a step in which nothing moves, under full pressure."""
    scales = [0.0] * 3 * sum(map(len, turns))
    return table_of([[0.0, *[1.0] * len(Pressure._fields), *scales]], device).to(device)[0]


@dataclass(frozen=True)
class Plan:
    """What the next n steps take, on the host."""

    first: int
    """Steps taken before them."""
    turns: tuple[Turn, ...]
    """Who moves in each of them, one turn after the other."""
    rows: Rows
    """Of the images that they see."""
    numbers: Tensor
    """``[n, S]``: of each step what :func:`numbers_of` names."""
    counts: Mapping[str, int]
    """Steps that each player has taken before them."""

    @property
    def steps(self) -> int:
        """N."""
        return len(self.numbers)

    @property
    def end(self) -> int:
        """Steps taken after them."""
        return self.first + self.steps

    def counts_at(self, number: int) -> dict[str, int]:
        """Steps that each player has taken before one of these, or after all of them."""
        moves = Counter(name for turn in self.turns for name in turn)
        return {name: count + number * moves[name] for name, count in self.counts.items()}

    def divided(self, steps: int) -> "tuple[Plan, Plan | None]":
        """The plan of the first so many steps, and that of the others where some are left."""
        if steps >= self.steps:
            return self, None
        first = replace(self, rows=self.rows[:steps], numbers=self.numbers[:steps])
        rest = self.rows[steps:], self.numbers[steps:], self.counts_at(steps)
        return first, Plan(self.first + steps, self.turns, *rest)


class State:
    """Where the steps of a plan are, what they take, and what they found; on the device.

    Weights, moments and averages are the other part of what steps change. They stay where model and
    optimizer have them.

    Args:
        device: of the run.
    """

    def __init__(self, device: torch.device) -> None:
        self._counters = torch.zeros(2, dtype=torch.int64, device=device)
        self.cursor = self._counters[:1]
        """Number ``[1]`` of the next step in its plan."""
        self.step = self._counters[1]
        """Steps taken before it, []."""
        self.extras: tuple[str, ...] = ()
        """Names of the extras of a loss."""
        self.others: tuple[str, ...] = ()
        """Names of the players whose losses follow them."""
        self._rows: Tensor | None = None
        self._numbers: Tensor | None = None
        self._ring: Tensor | None = None
        self.received: list[Batch] = []
        """The batches of the step, where the host makes them and it is recorded."""

    def begin(self, plan: Plan) -> None:
        """Take over a plan from the host, and stand before its first step."""
        self._counters.copy_(torch.tensor([0, plan.first]))
        self._numbers = self._filled(self._numbers, plan.numbers)
        if isinstance(plan.rows, Tensor):
            self._rows = self._filled(self._rows, plan.rows)

    def _filled(self, table: Tensor | None, values: Tensor) -> Tensor:
        """The table with these values ``[n, X]``, a new one where there is none of this width."""
        if table is None or table.shape[1:] != values.shape[1:]:
            # also for the steps that are taken before one is recorded
            room = max(len(values), most_steps(values.shape[1]), WARM_UP_BETWEEN_PROCESSES + 2)
            table = values.new_zeros(room, *values.shape[1:], device=self.cursor.device)
        table[: len(values)].copy_(values)
        return table

    @property
    def rows(self) -> Tensor:
        """The rows ``[B]`` that the step sees."""
        assert self._rows is not None
        return self._rows.index_select(0, self.cursor)[0]

    @property
    def numbers(self) -> Tensor:
        """The numbers ``[S]`` of the step."""
        assert self._numbers is not None
        return self._numbers.index_select(0, self.cursor)[0]

    def receive(self, batches: Sequence[Batch]) -> None:
        """Take over the batches of a step, always to the same memory."""
        self.received = self.received or [batch.copied() for batch in batches]
        for kept, batch in zip(self.received, batches, strict=True):
            for tensor, new in zip(kept.tensors(), batch.tensors(), strict=True):
                tensor.copy_(new)

    def note(self, found: Summary) -> None:
        """Keep what a step found, and go on to the next."""
        if self._ring is None:
            self._ring = found.values.new_zeros(MOST_STEPS, *found.values.shape)
            self.extras, self.others = found.extras, found.others
        self._ring.index_copy_(0, self.cursor, found.values.unsqueeze(0))
        self._counters.add_(1)

    def found(self, steps: int) -> Tensor:
        """What so many steps of a plan found, a copy ``[n, M, F]`` on the CPU; waits for them."""
        assert self._ring is not None
        return torch.empty(steps, *self._ring.shape[1:]).copy_(self._ring[:steps])
