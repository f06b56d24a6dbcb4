"""The training loop: one step, one epoch, and what happens between them.

Legend: B batch.
"""

import math
import time

import torch

from distvae.checkpoint import Trained, save_checkpoint
from distvae.files import reporting_disk_errors
from distvae.objectives import Loss, Pressure
from distvae.runs import WEIGHTS, go_on
from distvae.schedules import capacity, heard, kl_weight
from distvae.tensors import write_tensors
from distvae.training.engine import Engine, Rows
from distvae.training.judging import (
    draw,
    evaluate,
    holds_best,
    note_evaluation,
    present_best,
    stopped_early,
)
from distvae.training.losses import StepLoss, check_losses
from distvae.training.players import learning_rates
from distvae.training.session import Session, Window, went_wrong
from distvae.training.sharding import whole_model, whole_state
from distvae.training.stopping import Interrupted
from distvae.training.world import check_same_weights, gathered, on_main, together


def train_step(engine: Engine, step: int, rows: Rows) -> list[Loss]:
    """One optimizer step on the global batch ``rows [B]``; reads nothing back from the device.

    Args:
        engine: what a step is made of.
        step: steps taken before this one; it determines noise, learning rates, KL weight
            and capacity.
        rows: row numbers of the global batch, of which this process takes its positions.
    """
    optim, objective = engine.config.optim, engine.config.objective
    players = engine.training.objective.players
    return engine.update(
        step,
        engine.batches(step, rows),
        learning_rates(players, engine.parts, step, optim.learning_rate),
        Pressure(
            kl_weight(objective, step, engine.steps_per_epoch),
            capacity(objective, step, engine.steps_per_epoch),
            heard(objective, step),
        ),
        # early on the average follows faster, so that it forgets the random start
        1.0 - min(optim.ema, (1 + step) / (10 + step)),
    )


def train(session: Session) -> None:
    """Take steps until the run is done, stopped early or asked to stop.

    Raises:
        Interrupted: a signal asked for it; a checkpoint has been written.
        DistvaeError: the loss is not finite, the ranks' weights differ, or the disk is full.
    """
    engine, progress = session.engine, session.progress
    optim, run = engine.config.optim, engine.config.run
    engine.forward.train()
    while progress.step < engine.total_steps and not stopped_early(engine, progress):
        epoch, first = divmod(progress.step, engine.steps_per_epoch)
        order = engine.order(epoch)
        for batch in range(first, engine.steps_per_epoch):
            started = time.perf_counter()
            rows = order[batch * optim.batch : (batch + 1) * optim.batch]
            session.window.losses += train_step(engine, progress.step, rows)
            progress.step += 1
            last = progress.step == engine.total_steps
            session.window.seconds += time.perf_counter() - started
            if progress.step % run.log_every == 0 or last:
                log_window(session)
            if batch + 1 == engine.steps_per_epoch or last:
                last = end_epoch(session, last)
            stopping = session.vote.signal_name(progress.step, session.log.failure is not None)
            if session.vote.troubled:
                together(engine.accelerator, session.log.check)
            due = progress.step % run.checkpoint_every == 0 or last or stopping
            if due or holds_best(engine, progress):
                checkpoint(session)
            if last:
                break
            if stopping:
                raise Interrupted(stopping)


def log_window(session: Session) -> None:
    """Read the losses since the last line back from the device, check and log them."""
    engine, window = session.engine, session.window
    if not window.losses:
        return
    sums = torch.stack(
        [
            torch.stack(
                [loss.loss, loss.distortion.mean(), loss.rate.mean(), *loss.extras.values()]
            )
            for loss in window.losses
        ]
    )
    started = time.perf_counter()
    values = engine.accelerator.reduce(sums, "mean").tolist()  # waits for the device
    window.seconds += time.perf_counter() - started
    micro = engine.config.optim.accumulate
    steps = len(values) // micro
    by_step = [_means(values[step * micro : (step + 1) * micro]) for step in range(steps)]
    check_losses(session, [StepLoss(*row[:3]) for row in by_step])
    loss, distortion, rate, *extras = _means(values)
    told = {
        "loss": loss,
        "elbo": -(distortion + rate),
        "distortion": distortion,
        "rate": rate,
        **dict(zip(window.losses[0].extras, extras, strict=True)),
        "images_per_second": steps * engine.config.optim.batch / window.seconds,
    }
    session.progress.seconds += window.seconds
    session.log.write(session.progress.step, session.epoch, "train", told)
    session.console.step(session.progress.step, told)
    session.window = Window()


def _means(rows: list[list[float]]) -> list[float]:
    return [sum(column) / len(rows) for column in zip(*rows, strict=True)]


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
    engine.forward.train()
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
