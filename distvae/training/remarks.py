"""What a run says at its start of what was chosen, and of which settings hold."""

from distvae.combinations import misfit
from distvae.config import TrainConfig, added_terms
from distvae.data.store import ImageData
from distvae.priors.vamp import VampPart
from distvae.text import rounded
from distvae.training import kernel
from distvae.training.compilation import MANY_STEPS
from distvae.training.engine import Engine
from distvae.training.recording import unusual


def length_told(asked: TrainConfig, engine: Engine) -> list[str]:
    """Which of two lengths holds, where both were given: a line or none."""
    epochs, most = asked.optim.epochs, asked.optim.max_steps
    if epochs is None or most is None or most >= epochs * engine.steps_per_epoch:
        return []
    end = rounded(most / engine.steps_per_epoch)
    return [f"--max-steps {most} ends the run at epoch {end}, before --epochs {epochs}"]


def fitting_told(asked: TrainConfig, taken: TrainConfig, what: str) -> list[str]:
    """Which parts were chosen for few examples of a kind, or the latents: a line or none."""
    before, after = asked.model, taken.model
    chosen = []
    if before.network is None and after.network == "conv":
        rule = misfit({**asked.to_flat(), "network": "mlp"})
        if rule is not None:
            return [f"the model has --network conv: {rule.why}"]
        chosen.append("--network conv")
    if before.prior is None and after.prior == "vamp":
        chosen.append(f"--prior vamp --prior-components {after.of(VampPart).prior_components}")
    return [f"the {what} are few, so the model has {' '.join(chosen)}"] if chosen else []


def judge_told(data: ImageData, engine: Engine) -> list[str]:
    """By which images weights are judged and from when on, where it matters."""
    best, first = engine.config.keeps_best, engine.judged_from + 1
    told = []
    if data.validation is not None:
        told.append(
            f"weights are judged by {len(data.validation):,} validation {data.examples} "
            f"({data.validation_origin}); the test split is measured at the end"
        )
    elif best:
        told.append(
            "weights are judged by the test split, on which the best then look better than they "
            "are: the run was begun without a validation part"
        )
    if best and first > 1:
        told.append(
            f"the best are looked for from step {first:,} on, when the critic is heard, and by "
            "nats, which it makes worse: they may be the first of these"
        )
    return told


def kernel_told(engine: Engine) -> str | None:
    """What would have to be installed for products that may be faster; None where nothing."""
    optim, many = engine.config.optim, engine.total_steps >= MANY_STEPS
    looked = engine.own_products is False and optim.mixed_precision == "no" and many
    if not looked or engine.accelerator.device.type != "cpu" or unusual(engine):
        return None
    failure = kernel.failure()
    if failure is None or not failure.install:
        return None
    return (
        f"dense layers multiply by a library, and not by the kernel of this package, which is "
        f"often faster: {failure}. Install {failure.install}"
    )


def uncompiled_told(engine: Engine) -> str | None:
    """Why a step is not compiled that would have been; None where nothing was in the way."""
    if not engine.uncompiled:
        return None
    return f"not compiled, which would pay: torch's compiler does not work: {engine.uncompiled}"


def terms_told(config: TrainConfig) -> list[str]:
    """What is minimized beside the bound: a line or none."""
    added = added_terms(config.objective)
    if not added:
        return []
    return [
        f"the loss of a step has {' and '.join(added)} in it; elbo, distortion and rate, and the "
        "loss by which weights are judged, are of the bound alone"
    ]
