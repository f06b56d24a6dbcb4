"""The training loop: steps up to the next event, and what happens there."""

import math
import time

import torch

from distvae.checkpoint import Trained, save_checkpoint
from distvae.files import reporting_disk_errors
from distvae.runs import WEIGHTS, go_on
from distvae.tensors import write_tensors
from distvae.training.advance import advance
from distvae.training.capture import Graphs
from distvae.training.folder import note_uncaptured
from distvae.training.judging import (
    draw,
    evaluate,
    holds_best,
    note_evaluation,
    present_best,
    stopped_early,
)
from distvae.training.losses import StepLoss, check_losses
from distvae.training.plan import Plan, most_steps
from distvae.training.planning import following, make_plan, scheduled
from distvae.training.session import Session, Window, went_wrong
from distvae.training.sharding import whole_model, whole_state
from distvae.training.skipping import SKIPPED
from distvae.training.stopping import Interrupted
from distvae.training.world import check_same_weights, gathered, on_main, together


def train(session: Session) -> None:
    """Take steps until the run is done, stopped early or asked to stop.

    Raises:
        Interrupted: a signal asked for it; a checkpoint has been written.
        DistvaeError: the loss is not finite, the ranks' weights differ, or the disk is full.
    """
    engine, progress = session.engine, session.progress
    run = engine.config.run
    engine.wrapped.forward.train()
    while progress.step < engine.total_steps and not stopped_early(engine, progress):
        take_steps(session, next_event(session) - progress.step)
        last = progress.step == engine.total_steps
        if last or progress.step % engine.steps_per_epoch == 0:
            last = end_epoch(session, last)
        stopping = session.vote.signal_name(progress.step, session.log.failure is not None)
        if session.vote.troubled:
            together(engine.accelerator, session.log.check)
        due = progress.step % run.checkpoint_every == 0 or last or stopping
        if due or holds_best(engine, progress):
            checkpoint(session)
        if stopping and not last:
            raise Interrupted(stopping)


def next_event(session: Session) -> int:
    """The step after which there is something to do beside steps, the same on all processes.

    That is an epoch's end with an evaluation or a sample sheet, the end of the run, a checkpoint,
    or a look at signals. The lines of a log are no event: what they tell is cut of what is found.
    """
    engine, step = session.engine, session.progress.step
    run, epoch = engine.config.run, engine.steps_per_epoch
    periods = run.checkpoint_every, run.eval_every * epoch, run.sample_every * epoch
    regular = (step - step % period + period for period in periods)
    most = step + most_steps(engine.config.optim.batch)
    return min(*regular, engine.total_steps, session.vote.due, most)


def take_steps(session: Session, steps: int) -> None:
    """Take so many steps, or fewer where another player joins in between, and log their lines."""
    engine, progress = session.engine, session.progress
    started = time.perf_counter()
    plan = _next_plan(session, steps)
    advance(engine, plan)
    if engine.graphs is not None:
        _use_the_wait(session, plan, engine.graphs)
    found = engine.state.found(plan.steps)  # waits for the device
    each = (time.perf_counter() - started) / plan.steps
    every = engine.config.run.log_every
    while progress.step < plan.end:
        step = min(plan.end, progress.step - progress.step % every + every)
        part = found[progress.step - plan.first : step - plan.first]
        session.window.found.append(part)
        session.window.seconds += each * len(part)
        progress.step = step
        if step % every == 0 or step == engine.total_steps:
            log_window(session)
    session.console.moved(progress.step)


def _next_plan(session: Session, steps: int) -> Plan:
    """The plan of so many steps or fewer, made already or now."""
    engine, step, ahead = session.engine, session.progress.step, session.ahead
    if ahead is None or ahead.first != step:
        return make_plan(engine, step, steps)
    plan, session.ahead = ahead.divided(steps)
    return plan


def _use_the_wait(session: Session, plan: Plan, graphs: Graphs) -> None:
    """While a device repeats the steps of a plan by itself, make the next one."""
    if news := graphs.news():
        session.console.say(news, style="yellow")
        folder, why = session.folder, graphs.refused
        on_main(session.engine.accelerator, lambda: note_uncaptured(folder, why))
    if session.ahead is None and not graphs.refused:
        session.ahead = following(session.engine, plan)


def log_window(session: Session) -> None:
    """Log what the steps since the last line found, when it has been checked."""
    engine, window = session.engine, session.window
    if not window.found:
        return
    started = time.perf_counter()
    found = torch.cat(window.found)
    if engine.accelerator.num_processes > 1:
        found = engine.accelerator.reduce(found.to(engine.accelerator.device), "mean")
    values = found.tolist()
    window.seconds += time.perf_counter() - started
    by_step = [StepLoss.mean(batches, engine.state) for batches in values]
    check_losses(session, by_step)
    mean = StepLoss.mean([row for batches in values for row in batches], engine.state)
    figures = {
        "loss": mean.loss,
        "elbo": -(mean.distortion + mean.rate),
        "distortion": mean.distortion,
        "rate": mean.rate,
        **mean.extras,
        "images_per_second": len(by_step) * engine.config.optim.batch / window.seconds,
        **scheduled(engine, session.progress.step - 1),
    }
    session.progress.seconds += window.seconds
    session.log.write(session.progress.step, session.epoch, "train", figures)
    session.console.step(figures)
    _tell_skipped(session, round(mean.extras.get(SKIPPED, 0.0) * len(by_step)), len(by_step))
    session.window = Window()


def _tell_skipped(session: Session, skipped: int, steps: int) -> None:
    """Say how many of the latest steps were left out, if any were."""
    if not skipped:
        return
    factor = session.engine.config.optim.skip_above
    session.console.say(
        f"{skipped} of the {steps} steps to step {session.progress.step:,} left out: their "
        f"gradients were more than {factor:g} times as long as usual (--skip-above)",
        style="yellow",
    )


def end_epoch(session: Session, last: bool) -> bool:
    """Evaluate and draw when they are due; returns whether the run ends here."""
    engine, run = session.engine, session.engine.config.run
    epoch = math.ceil(session.epoch)
    if epoch % run.eval_every == 0 or last:
        log_window(session)
        note_evaluation(session, evaluate(engine, engine.judged_images))
        last = last or stopped_early(engine, session.progress)
    if epoch % run.sample_every == 0 or last:
        usable = whole_model(engine.trained.usable)
        on_main(engine.accelerator, lambda: draw(session, usable, epoch))
    if last:
        present_best(session)
    engine.wrapped.forward.train()
    return last


def checkpoint(session: Session) -> None:
    """Write a checkpoint and the run's own model.safetensors, unless loss or weights went wrong."""
    engine = session.engine
    log_window(session)
    check_same_weights(engine.accelerator, engine.trained, session.progress.step)
    if engine.accelerator.scaler is not None:
        session.progress.scaler = engine.accelerator.scaler.state_dict()
    if engine.train_images.state is not None:
        session.progress.streams = tuple(gathered(engine.accelerator, engine.train_images.state))
    trained = whole_state(engine.trained, "cpu" if engine.accelerator.is_main_process else "meta")
    on_main(engine.accelerator, lambda: _save(session, trained))


def _save(session: Session, trained: Trained) -> None:
    session.log.check()
    folder = session.folder
    norms = torch._foreach_norm(list(trained.model.parameters()))
    if not torch.stack(norms).isfinite().all():
        found = f"the weights after step {session.progress.step} are not finite"
        terms = "the loss before was finite"
        raise went_wrong(folder, found, terms, session.progress.step)
    size = sum(parameter.nbytes for parameter in trained.model.parameters())
    own = sum(value.nbytes for value in trained.objective_state().values())
    with reporting_disk_errors(
        f"the checkpoint of step {session.progress.step} cannot be written",
        folder,
        # two moments, the weights to use in two places, and where averaged those trained; two
        # moments and the weights of the objective's own networks
        size * (5 if trained.averaged is not None else 4) + 3 * own,
        go_on(folder),
    ):
        config, progress = session.engine.config, session.progress
        save_checkpoint(folder, trained, progress, config.run.keep, config.keeps_best)
        if not config.keeps_best or progress.best_step in (None, progress.step):
            write_tensors(folder / WEIGHTS, trained.usable.state_dict())
