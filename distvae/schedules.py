"""KL weight and learning rate as pure functions of progress.

Progress is counted in steps from the start of the run, so a resumed run needs no scheduler state.
"""

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

from distvae.choices import LearningRateScheduleName
from distvae.values import Within

if TYPE_CHECKING:
    from distvae.config import ObjectiveConfig, OptimConfig

LEAST_SHARE = 0.1
"""Of --learning-rate, with which a run goes on whose rate has fallen below it."""


def kl_weight(config: "ObjectiveConfig", step: int, steps_per_epoch: int) -> float:
    """Weight of the KL term at a step.

    Linear warm-up is that of Bowman et al. 2016 (arXiv:1511.06349); the cyclical one restarts it
    ``kl_cycles`` times inside the warm-up, each ramp using half of its cycle, as in Fu et al. 2019
    (arXiv:1903.10145).

    Args:
        config: schedule, start, final weight and length of the warm-up; nothing left out.
        step: optimizer steps taken so far.
        steps_per_epoch: optimizer steps in one pass over the data.
    """
    beta = config.beta
    assert beta is not None
    warmup = config.kl_warmup_epochs * steps_per_epoch
    if config.kl_schedule == "constant" or step >= warmup:
        return beta
    progress = step / warmup
    if config.kl_schedule == "cyclical":
        progress = min(1.0, 2.0 * math.modf(progress * config.kl_cycles)[0])
    return config.kl_start + (beta - config.kl_start) * progress


def capacity(config: "ObjectiveConfig", step: int, steps_per_epoch: int) -> float:
    """Nats at which the KL term is held: a line from zero over ``capacity_epochs``, then level.

    Burgess et al. 2018 (arXiv:1804.03599), section 5. Zero where there is no capacity.
    """
    rise = config.capacity_epochs * steps_per_epoch
    return (config.capacity or 0.0) * (step / rise if step < rise else 1.0)


@dataclass(frozen=True)
class Part:
    """A stretch of a run whose learning rate follows one schedule.

    A run has one, and one more for each time it was gone on with for another length. Which rate a
    step has is a function of these and of nothing else.
    """

    start: Annotated[int, Within(0)]
    """Steps taken before it."""
    end: Annotated[int, Within(1)]
    """Steps after which the schedule is at its end."""
    rate: Annotated[float, Within(0)]
    """Its highest learning rate."""
    schedule: LearningRateScheduleName
    warmup: Annotated[float, Within(0)] = 0.0
    """Steps over which the rate rises from zero."""

    def learning_rate(self, step: int) -> float:
        """Learning rate of a step: a linear rise, then constant, half a cosine or falling stages.

        The cosine is that of Loshchilov and Hutter 2017 (arXiv:1608.03983) without restarts. The
        stages are those of Burda et al. 2016 (arXiv:1509.00519, section 5): stage i of 0 to 7 lasts
        3^i parts of the run at 10^(-i/7) of the rate, parts that are epochs in a run of theirs,
        3280 epochs.
        """
        taken = step - self.start
        if taken < self.warmup:
            return self.rate * (taken + 1) / (self.warmup + 1)
        if self.schedule == "constant":
            return self.rate
        done, length = taken - self.warmup, max(1.0, self.end - self.start - self.warmup)
        if self.schedule == "burda":
            past = sum(2 * 3280 * done >= (3**stage - 1) * length for stage in range(1, 8))
            return self.rate * math.pow(10.0, -past / 7)
        progress = min(1.0, done / length)
        return self.rate * 0.5 * (1.0 + math.cos(math.pi * progress))


Parts = tuple[Part, ...]


def scaled_rate(config: "OptimConfig") -> str:
    """What to say of a learning rate that was made for another batch; empty of any other."""
    if config.lr_scale == "off":
        return ""
    factor = f"{config.batch:,} / {config.lr_batch:,}"
    times = f"the root of {factor}" if config.lr_scale == "sqrt" else factor
    return (
        f"--lr-scale {config.lr_scale}: the learning rate is {config.peak_rate:.3g}, which is "
        f"{config.learning_rate:g} times {times}"
    )


def steps_of(config: "OptimConfig", steps_per_epoch: int) -> int:
    """Steps that a run takes which is not stopped early."""
    steps = config.passes * steps_per_epoch
    return min(steps, config.max_steps or steps)


def whole(config: "OptimConfig", total_steps: int, steps_per_epoch: int) -> Parts:
    """The one part of a run that starts at the beginning."""
    warmup = config.warmup_epochs * steps_per_epoch
    return (Part(0, total_steps, config.peak_rate, config.schedule, warmup),)


def learning_rate(
    parts: Parts,
    step: int,
    schedule: LearningRateScheduleName | None = None,
    stage: tuple[int, int] | None = None,
) -> float:
    """Learning rate of a step: that of the last part that had begun by then.

    Args:
        parts: of the run.
        step: steps taken before it.
        schedule: another than that of the parts.
        stage: steps of the run, from the first to before the second, that have a schedule of their
            own; the warm-up is that of the part.
    """
    begun = (part for part in reversed(parts) if part.start <= step)
    part = next(begun, parts[0])
    if schedule is not None:
        part = replace(part, schedule=schedule)
    if stage is not None:
        first, end = stage
        part = replace(part, start=max(part.start, first), end=min(part.end, end))
    return part.learning_rate(step)


def gone_on(
    parts: Parts,
    before: "OptimConfig",
    now: "OptimConfig",
    step: int,
    total_steps: int,
    per_epoch: int,
) -> Parts:
    """The parts of a run that is gone on with.

    With another length, learning rate or schedule than ``before`` it gets a part of its own from
    here: from the rate where it stood, but at least ``LEAST_SHARE`` of ``--learning-rate``, since a
    rate that has fallen to zero would teach nothing; or from ``--learning-rate`` where that is
    another. In its warm-up a run has not begun to fall, and follows the new settings as a whole.

    Args:
        parts: those so far.
        before: the settings they came of.
        now: the settings it goes on with.
        step: steps taken so far.
        total_steps: of the whole run, as it is now meant.
        per_epoch: optimizer steps in one pass over the data.
    """
    rises = step <= parts[0].warmup
    names = ("peak_rate", "schedule", *(["warmup_epochs"] if rises else []))
    same = all(getattr(before, name) == getattr(now, name) for name in names)
    if step >= total_steps or (same and total_steps == parts[-1].end):
        return parts
    if rises:
        return whole(now, total_steps, per_epoch)
    rate = max(learning_rate(parts, step), LEAST_SHARE * now.peak_rate)
    if now.peak_rate != before.peak_rate:
        rate = now.peak_rate
    behind = tuple(part for part in parts if part.start < step)
    return (*behind, Part(step, total_steps, rate, now.schedule))
