"""What is measured and drawn between two epochs."""

import math

from distvae.checkpoint import Progress
from distvae.curves import write_curves
from distvae.data.batches import ResidentImages
from distvae.evaluation.elbo import elbo_metrics
from distvae.evaluation.label_error import label_metrics
from distvae.evaluation.passes import Share
from distvae.figures import OF_LEVEL
from distvae.files import reporting_disk_errors
from distvae.models import VAE
from distvae.objectives import loss_of_means
from distvae.runs import SAMPLES, checkpoint_path, go_on
from distvae.training.engine import Engine
from distvae.training.pictures import write_pictures
from distvae.training.session import Session, went_wrong
from distvae.training.sharding import whole_model
from distvae.training.world import on_main, together

MOST_DEAD = 0.5
TIME_TO_WAKE = 0.25
"""Share of a run before which dead latents are not yet a collapse."""
REMEDIES = "a KL warm-up (--kl-warmup-epochs), --free-bits, a smaller --beta or --latent-dim"
LEAST_RATE = 0.1
"""Nats that a level of several carries at least, where it is of use."""
REMEDIES_OF_LEVELS = "a KL warm-up (--kl-warmup-epochs), --free-bits, or fewer --levels"


def draw(session: Session, model: VAE, epoch: int) -> None:
    """Write the sheets of an epoch, drawn by a whole model."""
    engine, folder = session.engine, session.folder / SAMPLES
    message = f"the pictures of epoch {epoch} cannot be written"
    with reporting_disk_errors(message, folder, next_step=go_on(session.folder)):
        write_pictures(
            model.eval(),
            engine.test_images,
            engine.config.optim.seed % 2**64,  # samples have no seeds below 0
            folder,
            epoch,
        )
        write_curves(session.folder)


def note_evaluation(session: Session, values: dict[str, float]) -> None:
    """Check, log and tell an evaluation, and remember whether it was the best.

    Before the model hears a critic, nats are better than they can be afterwards: those evaluations
    are left out.
    """
    progress, split = session.progress, session.engine.judging_split
    loss = _loss(session.engine, values)
    if not math.isfinite(loss):
        terms = f"distortion {values['distortion']}, rate {values['rate']} nats per image"
        found = f"the {split} loss after step {progress.step} is {loss}"
        raise went_wrong(session.folder, found, terms, progress.step)
    if progress.step > session.engine.judged_from:
        better = progress.best_loss is None or loss < progress.best_loss
        progress.best_loss = loss if better else progress.best_loss
        progress.best_step = progress.step if better else progress.best_step
        progress.evaluations_since_best = 0 if better else progress.evaluations_since_best + 1
    session.log.write(
        progress.step, session.epoch, split, {"loss": loss, **values, **_best(session)}
    )
    session.console.epoch(session.epoch, values, split)
    _tell_collapse(session, values)


def _best(session: Session) -> dict[str, float]:
    """What a line of metrics.jsonl says of the best evaluation so far, where its weights stay."""
    engine, progress = session.engine, session.progress
    if not engine.config.keeps_best or progress.best_step is None or progress.best_loss is None:
        return {}
    return {
        "best_step": progress.best_step,
        "best_epoch": round(progress.best_step / engine.steps_per_epoch, 4),
        "best_loss": progress.best_loss,
        "evaluations_since_best": progress.evaluations_since_best,
    }


def _loss(engine: Engine, values: dict[str, float]) -> float:
    """The objective at the final KL weight, nats per image, which no warm-up can move."""
    dims = math.prod(engine.trained.model.domain.shape)
    return loss_of_means(values["distortion"], values["rate"], engine.config.objective, dims)


def _tell_collapse(session: Session, values: dict[str, float]) -> None:
    """Say once what of the latents carries nothing, when they have had time to wake."""
    early = session.progress.step < session.engine.total_steps * TIME_TO_WAKE
    told = collapse(values)
    if early or not told or session.warned:
        return
    session.warned = True
    session.console.say(told, style="yellow")


def collapse(values: dict[str, float]) -> str | None:
    """What of the latents carries nothing, and what helps; None where enough is carried.

    Of one level it is told by how many latents are active. A level of several is told by its rate:
    where its prior follows the levels before, its means vary even if it carries nothing.
    """
    rates = {key: rate for key, rate in values.items() if key.startswith(f"rate{OF_LEVEL}")}
    idle = [
        f"{key.partition(OF_LEVEL)[2]} {rate:.2f}"
        for key, rate in rates.items()
        if rate < LEAST_RATE
    ]
    if idle:
        told = ", ".join(idle)
        return f"levels that carry almost nothing, nats: {told}. Remedies: {REMEDIES_OF_LEVELS}"
    active, size = values.get("active_units", 0.0), values.get("latent_dim", 0.0)
    if rates or active >= MOST_DEAD * size:
        return None
    return (
        f"only {active:.0f} of {size:.0f} latents are active: the others carry nothing. "
        f"Remedies: {REMEDIES}"
    )


def evaluate(engine: Engine, images: ResidentImages, model: VAE | None = None) -> dict[str, float]:
    """Elbo, latents' use and errors of q(y|x) over a split, by all processes together.

    Args:
        engine: of the run.
        images: the split.
        model: left out, the one in training.
    """
    accelerator = engine.accelerator
    share = Share(
        accelerator.process_index,
        accelerator.num_processes,
        lambda sums: accelerator.reduce(sums, "sum"),
    )
    model = (model or whole_model(engine.trained.usable)).eval()
    values = dict(elbo_metrics(model, images, engine.config.optim.seed, share))
    told = {} if model.classifier is None else dict(label_metrics(model, images, share))
    return {**values, **told}


def holds_best(engine: Engine, progress: Progress) -> bool:
    """Whether the weights of this step are the best, and to be kept for that."""
    return engine.config.keeps_best and progress.best_step == progress.step


def present_best(session: Session) -> None:
    """Measure and draw the weights that the run leaves behind, where that was not done yet."""
    engine, progress = session.engine, session.progress
    step = progress.best_step if engine.config.keeps_best else progress.step
    assert step is not None
    if step == progress.step:
        model = whole_model(engine.trained.usable)
    else:
        path = checkpoint_path(session.folder, step)
        found = together(engine.accelerator, lambda: VAE.from_pretrained(path))
        model = found.to(engine.accelerator.device)
        epoch = math.ceil(step / engine.steps_per_epoch)
        on_main(engine.accelerator, lambda: draw(session, model, epoch))
    if engine.validation_images is not None or step != progress.step:
        values = evaluate(engine, engine.test_images, model)
        loss = {"loss": _loss(engine, values), **values}
        figures = {**loss, **_best(session), "weights_step": step}
        session.log.write(progress.step, session.epoch, "test", figures)


def stopped_early(engine: Engine, progress: Progress) -> bool:
    """Whether as many evaluations as --early-stopping allows were without a better loss."""
    patience = engine.config.optim.early_stopping
    return patience is not None and progress.evaluations_since_best >= patience
