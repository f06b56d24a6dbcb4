"""Which arithmetic the networks compute in: what was asked for, or what is faster here."""

import dataclasses
from dataclasses import dataclass

from distvae.platform import native_bf16
from distvae.records import PrecisionRecord
from distvae.training.compilation import COMPILE_SECONDS, compiled
from distvae.training.decided import Decided
from distvae.training.engine import Engine
from distvae.training.probing import TIMED, WARM_UP, step_seconds
from distvae.training.update import autograd_update, loss_function
from distvae.training.world import gathered

AUTO, NO, BF16 = "auto", "no", "bf16"
PRECISION = "precision"
"""Under this key config.json holds the decision."""
MARGIN = 1.3
"""How many times as fast bf16 must be to be taken: it costs digits, and a clock is not exact."""
SHARE = 0.05
"""Most of a run that finding out may cost."""
FEWEST_STEPS = int(2 * (WARM_UP + TIMED) / SHARE)
"""Of a run for which it is found out."""


@dataclass(frozen=True)
class Decision(Decided):
    """What a run computes in, and why."""

    warning: str = ""
    """What the precision costs on this machine, where it does more harm than good."""


def decided(engine: Engine, earlier: PrecisionRecord | None = None) -> tuple[Engine, Decision]:
    """The engine in the precision of its run, which stands in its settings from then on.

    Args:
        engine: not compiled yet.
        earlier: as config.json holds it, the decision of a run that is gone on with; it stands.
    """
    asked = engine.config.optim.mixed_precision
    native = all(gathered(engine.accelerator, native_bf16(engine.accelerator.device.type)))
    if asked != AUTO:
        decision = Decision(asked, asked)
        if earlier is not None and earlier.taken == asked:
            decision = Decision(earlier.asked, asked, earlier.why)
        if asked == BF16 and not native:
            decision = dataclasses.replace(decision, warning=_price(engine))
        return engine, decision
    known = without_timing(engine.accelerator.device.type, native)
    taken, why = known or _choice(engine)
    return in_precision(engine, taken), Decision(asked, taken, why)


def without_timing(device_type: str, native: bool) -> tuple[str, str] | None:
    """What ``auto`` takes where that is known beforehand, and why.

    Where a GPU has bf16, its products are faster by far more than any margin, and products are all
    that grows with the run.

    Args:
        device_type: of the run.
        native: whether every process has instructions for bf16.
    """
    if not native:
        return NO, "there is no bf16 arithmetic here"
    return (BF16, "this GPU has it") if device_type == "cuda" else None


def in_precision(engine: Engine, precision: str) -> Engine:
    """The same engine with networks that compute in another precision; not compiled."""
    config = engine.config.updated({"mixed_precision": precision}, "--mixed-precision auto")
    if (engine.config.optim.mixed_precision, precision) == (AUTO, NO):  # which it was built for
        return dataclasses.replace(engine, config=config)
    loss_of = loss_function(config, engine.accelerator.device.type)
    update = autograd_update(engine.wrapped, loss_of)
    return dataclasses.replace(engine, config=config, loss_of=loss_of, update=update)


def _choice(engine: Engine) -> tuple[str, str]:
    """bf16 where a few steps, compiled if the run's are, are faster by the margin."""
    short = f"{engine.total_steps:,} steps are too few to time bf16 first"
    if engine.total_steps < FEWEST_STEPS:
        return NO, short
    engines = [in_precision(engine, precision) for precision in (NO, BF16)]
    if engine.config.optim.compile == "on":
        (eager,) = step_seconds(engines[:1])
        seconds = gathered(engine.accelerator, eager)[0] * engine.total_steps
        if SHARE * seconds < 2 * COMPILE_SECONDS:
            return NO, f"{seconds:.0f} s are too short to compile both first"
        engines = [compiled(one) for one in engines]
    full, half = gathered(engine.accelerator, step_seconds(engines))[0]  # as the main one sees it
    faster = full / half
    if faster >= MARGIN:
        return BF16, f"its steps are {faster:.2f} times as fast"
    return NO, f"steps in bf16 are {faster:.2f} times as fast, which is less than {MARGIN:g}"


def _price(engine: Engine) -> str:
    """What bf16 costs where it is emulated, by a few steps of each."""
    engines = [in_precision(engine, precision) for precision in (NO, BF16)]
    full, half = gathered(engine.accelerator, step_seconds(engines, warm_up=1, timed=3))[0]
    return (
        f"bf16 was asked for and is emulated on this machine: a step takes {1e3 * half:.3g} ms, "
        f"and {1e3 * full:.3g} ms with --mixed-precision no"
    )
