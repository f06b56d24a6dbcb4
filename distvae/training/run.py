"""A training run from its settings to its folder: start, resume, finish."""

import contextlib
import dataclasses
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from accelerate import Accelerator

from distvae.attributes import labels_counted
from distvae.checkpoint import Progress, refuse_other_numbers
from distvae.config import TrainConfig
from distvae.data.provenance import data_record
from distvae.data.store import ImageData
from distvae.data.validation import AUTO
from distvae.headers import stored_checksum
from distvae.lengths import few_steps
from distvae.platform import library_name, prepare
from distvae.records import RunRecord
from distvae.runs import WEIGHTS
from distvae.schedules import scaled_rate
from distvae.text import counted
from distvae.training.accelerator import build_accelerator
from distvae.training.compilation import compiled
from distvae.training.console import TrainingConsole
from distvae.training.continuation import Earlier, check_architecture, load, patience_of
from distvae.training.engine import Engine, build_engine
from distvae.training.filling import keep
from distvae.training.folder import (
    begin,
    check_folder,
    check_separate,
    facts_of,
    finish,
    record_of,
)
from distvae.training.judging import stopped_early
from distvae.training.lock import locked
from distvae.training.loop import train
from distvae.training.opening import open_together
from distvae.training.peers import watched_peers
from distvae.training.precision import PRECISION, Decision, decided
from distvae.training.products import choose_library
from distvae.training.recording import CAPTURE, Captured, captured
from distvae.training.remarks import (
    fitting_told,
    judge_told,
    kernel_told,
    length_told,
    terms_told,
    uncompiled_told,
)
from distvae.training.session import Session
from distvae.training.sharding import check_sharding, unsharded
from distvae.training.stopping import Interrupted, StopRequest, Vote
from distvae.training.topology import check_asked, check_topology
from distvae.training.trackers import MetricsLog, check_trackers
from distvae.training.transfer import Origin
from distvae.training.world import check_agreement, on_main, together


@dataclass(frozen=True)
class Outcome:
    """How a session ended."""

    folder: Path
    progress: Progress
    total_steps: int
    steps_per_epoch: int
    stopped_early: bool
    signal_name: str | None = None
    """That of the signal that interrupted it, if one did."""
    idle: bool = False
    """Whether the run was finished before."""

    @property
    def finished(self) -> bool:
        """Whether the run is done."""
        return self.signal_name is None


class Chosen(NamedTuple):
    """What was decided about how the steps of a run are taken."""

    precision: Decision
    capture: Captured

    def recorded(self) -> dict[str, dict[str, str]]:
        """As it stands in config.json."""
        return {PRECISION: self.precision.recorded(), CAPTURE: self.capture.recorded()}


def _outcome(
    folder: Path, engine: Engine, progress: Progress, signal_name: str | None, idle: bool = False
) -> Outcome:
    early = stopped_early(engine, progress)
    lengths = engine.total_steps, engine.steps_per_epoch
    return Outcome(folder, progress, *lengths, early, signal_name, idle)


def run_training(
    config: TrainConfig,
    folder: Path,
    resume: bool,
    rewind: bool = False,
    init_from: str | None = None,
    stays: bool = False,
) -> Outcome:
    """Train in ``folder``, from the start or from its newest whole checkpoint.

    Args:
        config: all settings.
        folder: of the run.
        resume: whether to go on with the run that is there.
        rewind: whether one that gets another length follows one schedule as a whole.
        init_from: the model from whose weights a new run starts; left out: from random ones.
        stays: whether several processes stay together for what they do next.

    Raises:
        DistvaeError: a setting, the data or the folder is not as it must be, another process trains
            there, or the processes were not started alike; before any work.
        LostError: another process of the run was lost.
    """
    check_folder(folder, config.run.overwrite, resume)
    if init_from is not None and not resume:
        check_separate(folder, init_from)
    check_trackers(config.run.tracker)
    check_asked()
    config = config if resume else with_validation_part(config)
    facts = facts_of(config, folder, resume)
    facts |= {"--rewind-schedule": rewind, "--init-from": init_from}
    config = config.updated({"threads": prepare(config.run.threads)}, "this machine")
    accelerator = build_accelerator(config, str(folder))
    check_topology(accelerator)
    check_sharding(config, accelerator.num_processes)
    with watched_peers(accelerator, folder, stays) as names, contextlib.ExitStack() as held:
        check_agreement(accelerator, facts, names)
        on_main(accelerator, lambda: held.enter_context(locked(folder)))
        # another run may have begun there before this one held it
        on_main(accelerator, lambda: check_folder(folder, config.run.overwrite, resume))
        earlier = together(accelerator, lambda: Earlier.of(folder)) if resume else None
        known = earlier.record if earlier else None
        data = open_together(config, accelerator, folder, known)
        check_agreement(accelerator, {"the data's fingerprint": data.fingerprint}, names)
        config = config.resolved(data.channels, data.domain)
        if earlier is not None:
            return _go_on(config, data, accelerator, folder, earlier, rewind)
        return _start(config, data, accelerator, folder, init_from)


def _start(
    config: TrainConfig,
    data: ImageData,
    accelerator: Accelerator,
    folder: Path,
    init_from: str | None,
) -> Outcome:
    """Begin a new run."""
    origin = together(accelerator, lambda: Origin.of(init_from)) if init_from else None
    engine, chosen = _prepared(build_engine(config, data, accelerator, origin))
    transfer = origin.transfer if origin else None
    moved = transfer.record() if transfer else None
    record = record_of(data_record(data, folder), engine, chosen.recorded(), moved)
    on_main(accelerator, lambda: begin(folder, False, record))
    if config.data.spread_labels is not None:
        on_main(accelerator, lambda: keep(folder, data))
    lines = [
        *length_told(config, engine),
        *fitting_told(config, engine.config, engine.trained.model.domain.examples),
        *judge_told(data, engine),
        *terms_told(config),
        *(transfer.lines() if transfer else ()),
    ]
    return _run_session(engine, Progress(), folder, chosen, lines)


def _go_on(
    config: TrainConfig,
    data: ImageData,
    accelerator: Accelerator,
    folder: Path,
    earlier: Earlier,
    rewind: bool,
) -> Outcome:
    """Go on from the newest whole checkpoint, or say that there is nothing to go on with."""
    config = earlier.lengthened(config, data.train_images)
    on_main(accelerator, lambda: check_architecture(folder, config, data))
    origin = together(accelerator, lambda: earlier.origin(folder))
    engine = build_engine(config, data, accelerator, origin)
    found = load(engine, folder)
    step, end = found.progress.step, engine.total_steps
    parts, lines = earlier.parts_from(engine.config.optim, step, engine.steps_per_epoch, rewind)
    engine = dataclasses.replace(engine, parts=parts)
    progress, other = earlier.comparable(engine.config, patience_of(found.progress, parts))
    if step >= end or stopped_early(engine, progress):
        on_main(accelerator, lambda: found.complete(folder))
        idle = _outcome(folder, engine, progress, None, idle=True)
        return dataclasses.replace(idle, total_steps=end)
    refuse_other_numbers(found.checkpoint, progress)
    on_main(accelerator, lambda: found.settle(folder))
    engine, chosen = _prepared(engine, earlier.record)
    same = data_record(data, folder, earlier.record.data)
    record = record_of(same, engine, chosen.recorded(), earlier.transferred)
    on_main(accelerator, lambda: begin(folder, True, record))
    return _run_session(
        engine, progress, folder, chosen, [*judge_told(data, engine), *other, *lines]
    )


def _prepared(engine: Engine, earlier: RunRecord | None = None) -> tuple[Engine, Chosen]:
    """The engine as it trains: its products, precision, compiled step, its steps captured."""
    choose_library(engine, earlier.world if earlier else None)
    if earlier:
        engine = dataclasses.replace(engine, own_products=earlier.world.own_products)
    engine, precision = decided(engine, earlier.precision if earlier else None)
    engine, capture = captured(compiled(engine))
    return engine, Chosen(precision, capture)


def with_validation_part(config: TrainConfig) -> TrainConfig:
    """The settings with a validation part, where the best weights of a new run are kept."""
    if not config.keeps_best or config.data.split_validation is not None:
        return config
    return config.updated({"split_validation": AUTO}, "--keep-best")


def _run_session(
    engine: Engine, progress: Progress, folder: Path, chosen: Chosen, told: Sequence[str] = ()
) -> Outcome:
    accelerator = engine.accelerator
    settings = {
        name: value if isinstance(value, bool | int | float) else str(value)
        for name, value in engine.config.to_flat().items()
    }
    accelerator.init_trackers("distvae", settings)  # not every tracker takes lists or nothing
    speak, lengths = accelerator.is_main_process, (engine.total_steps, engine.steps_per_epoch)
    examples = engine.trained.model.domain.examples
    console = TrainingConsole(speak, *lengths, progress.step, examples)
    signal_name, before = None, stored_checksum(folder / WEIGHTS)
    log_of = functools.partial(MetricsLog, folder, progress.step, accelerator)
    with (
        contextlib.closing(engine.train_images),
        StopRequest(lasting=accelerator.num_processes > 1) as stop,
        together(accelerator, log_of) as log,
    ):
        _announce(engine, chosen, console)
        for line in told:
            console.say(line)
        vote = Vote(accelerator, stop, progress.step)
        session = Session(engine, progress, folder, log, console, vote)
        try:
            with console:
                train(session)
        except Interrupted as interrupted:
            signal_name = str(interrupted)
        finally:
            if engine.graphs is not None:
                engine.graphs.forget()
        on_main(accelerator, lambda: finish(folder, stored_checksum(folder / WEIGHTS) != before))
    return _outcome(folder, engine, progress, signal_name)


def _announce(engine: Engine, chosen: Chosen, console: TrainingConsole) -> None:
    model, accelerator = engine.trained.model, engine.accelerator
    parameters = sum(parameter.numel() for parameter in model.parameters())
    ones = "compiled ones" if engine.config.optim.compile == "on" else "those of dense layers"
    by = f"{library_name()}{f', {ones} by distvae' if engine.own_products else ''}"
    products = f"; products by {by}" if accelerator.device.type == "cpu" else ""
    batch = engine.config.optim.batch
    console.say(
        f"{type(model).__name__} {model.config.network}, {counted(parameters, 'parameters')}; "
        f"{len(engine.train_images):,} {model.domain.told}, {labels_counted(model.attributes)}"
    )
    console.say(
        f"{counted(engine.total_steps, 'steps')} of {counted(batch, model.domain.examples)}, "
        f"{engine.steps_per_epoch:,} an epoch"
    )
    console.say(
        f"{accelerator.device.type} x {accelerator.num_processes}, "
        f"precision {chosen.precision}, capture {chosen.capture}{products}"
    )
    optim = engine.config.optim
    few = few_steps(engine.total_steps, len(engine.train_images), optim.batch)
    if few and optim.max_steps is None:
        console.say(few, style="yellow")
    notes = unsharded(accelerator.num_processes), scaled_rate(optim), kernel_told(engine)
    for line in filter(None, (*notes, uncompiled_told(engine), *engine.notes)):
        console.say(line)
    if chosen.precision.warning:
        console.say(chosen.precision.warning, style="yellow")
