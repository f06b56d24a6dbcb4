"""What is measured and drawn between two epochs."""

import math

from distvae.checkpoint import Progress
from distvae.evaluation.elbo import elbo_metrics
from distvae.files import disk_told
from distvae.models import VAE
from distvae.objectives import loss_of_means
from distvae.runs import SAMPLES
from distvae.training.engine import Engine
from distvae.training.pictures import write_pictures
from distvae.training.sharding import whole_model
from distvae.training.sitting import Sitting, not_finite

MOST_DEAD = 0.5
TIME_TO_WAKE = 0.25
"""Share of a run before which dead latents are not yet a collapse."""
REMEDIES = "a KL warm-up (--kl-warmup-epochs), --free-bits, a smaller --beta or --latent-dim"


def draw(sitting: Sitting, model: VAE, epoch: int) -> None:
    """Write the sheets of an epoch, drawn by a whole model."""
    engine, folder = sitting.engine, sitting.folder / SAMPLES
    with disk_told(f"the pictures of epoch {epoch} cannot be written", folder):
        write_pictures(
            model.eval(),
            engine.test_images,
            engine.binarize,
            engine.config.optim.seed,
            folder,
            epoch,
        )


def note_evaluation(sitting: Sitting, values: dict[str, float]) -> None:
    """Check, log and tell an evaluation, and remember whether it was the best.

    Its loss is the objective at the final KL weight, so that a warm-up cannot pass for progress or
    for the lack of it.
    """
    progress, model = sitting.progress, sitting.engine.trained.model
    loss = loss_of_means(
        values["distortion"],
        values["rate"],
        sitting.engine.config.objective,
        math.prod(model.image_shape),
    )
    if not math.isfinite(loss):
        terms = f"distortion {values['distortion']}, rate {values['rate']} nats per image"
        raise not_finite(
            sitting.folder, f"the test loss after step {progress.step} is {loss}", terms
        )
    better = progress.best_loss is None or loss < progress.best_loss
    progress.best_loss = loss if better else progress.best_loss
    progress.evaluations_since_best = 0 if better else progress.evaluations_since_best + 1
    sitting.log.write(progress.step, sitting.epoch, "test", {"loss": loss, **values})
    sitting.console.epoch(sitting.epoch, values)
    _tell_collapse(sitting, values)


def _tell_collapse(sitting: Sitting, values: dict[str, float]) -> None:
    """Say once that most latents are dead, when they have had time to wake."""
    early = sitting.progress.step < sitting.engine.total_steps * TIME_TO_WAKE
    alive = values["active_units"] >= MOST_DEAD * values["latent_dim"]
    if early or alive or sitting.warned:
        return
    sitting.warned = True
    sitting.console.say(
        f"only {values['active_units']:.0f} of {values['latent_dim']:.0f} latents "
        f"are active: the others carry nothing. Remedies: {REMEDIES}",
        style="yellow",
    )


def evaluate(engine: Engine) -> dict[str, float]:
    """Elbo and latents' use over the test split, on all processes together."""
    accelerator = engine.accelerator
    return dict(
        elbo_metrics(
            whole_model(engine.trained.usable).eval(),
            engine.test_images,
            engine.binarize,
            engine.config.optim.seed,
            accelerator.process_index,
            accelerator.num_processes,
            lambda sums: accelerator.reduce(sums, "sum"),
        )
    )


def stopped_early(engine: Engine, progress: Progress) -> bool:
    """Whether as many evaluations as --early-stopping allows were without a better loss."""
    patience = engine.config.optim.early_stopping
    return patience is not None and progress.evaluations_since_best >= patience
