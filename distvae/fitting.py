"""`distvae fit-prior`: a Gaussian mixture of a run's latents, by label, to draw from.

Legend: N images, Z latent dimensions, M components, G sets of them: one for each label, or 1.
"""

import shlex
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import numpy as np
from numpy.typing import NDArray

from distvae.errors import DistvaeError
from distvae.files import reporting_disk_errors
from distvae.flags import Positional
from distvae.ranges import check_seed
from distvae.runs import find_run
from distvae.terminal import make_console, progress_bar, table

if TYPE_CHECKING:
    from distvae.data.store import ImageData
    from distvae.models import VAE
    from distvae.priors.fitted import FittedPrior

MOST_STEPS = 200
REGULARIZATION = 1e-6
"""Added to every variance, so that a latent that never changes has one."""


@dataclass(frozen=True)
class FitPriorConfig:
    """Fit a mixture of Gaussians to what the encoder makes of the training images.

    Each label has its own, with full covariances; then `distvae sample --prior fitted` draws from
    it. Nothing is trained: the model stays as it is.
    """

    run: Annotated[str | None, Positional] = None
    """Run folder or one of its checkpoints; left out: the newest run."""
    data: str | None = None
    """Where the data of the run lies now, if it was moved; left out: where the run says."""
    components: int = 10
    """Gaussians for each label, or in all without labels."""
    seed: int = 0
    """Seed of the posterior draws, the binarization and the start of the fit."""


def fit_prior(config: FitPriorConfig) -> None:
    """Fit, write the prior beside the weights and print a table.

    Raises:
        DistvaeError: no such run, its data is gone or has changed, or a label has fewer images
            than components.
    """
    from distvae.data.provenance import open_recorded
    from distvae.latents import only_vector
    from distvae.models import VAE

    if config.components < 1:
        raise DistvaeError(f"--components is {config.components}", "expected at least 1")
    check_seed(config.seed, 32)
    run = find_run(config.run)
    model = VAE.from_pretrained(run.model)
    only_vector(model.latents.levels, "distvae fit-prior")
    data = open_recorded(run, config.data, progress_bar)
    groups = _groups(model, data, config.components)
    latents = _latents(model, data, config.seed)
    prior, gains = _fitted(latents, groups, config)
    facts = {"components": config.components, "seed": config.seed, "images": len(latents)}
    with reporting_disk_errors(f"the prior cannot be written to {run.model}", run.model):
        prior.save(run.model, {**facts, "log_density": gains})
    console = make_console()
    rows = [(name, f"{value:.5g}") for name, value in gains.items()]
    console.print(table("mean log-density of the latents, nats", rows))
    sample = f"distvae sample {shlex.quote(str(run.model))} --prior fitted"
    console.print(f"written to {run.model}; draw from it: {sample}")


def _groups(model: "VAE", data: "ImageData", components: int) -> dict[str, NDArray[np.int64]]:
    """Rows of the training images by name of the label; all of them without labels."""
    if model.conditional and not model.label_names:
        raise DistvaeError(
            "fit-prior fits Gaussians to the images of each label",
            f"this model is given {', '.join(each.name for each in model.attributes)}",
            "Train it with --prior flow, which sees them all.",
        )
    if not model.conditional or data.train.labels is None:
        groups = {"all": np.arange(len(data.train))}
    else:
        groups = {
            name: np.flatnonzero(data.train.labels == label)
            for label, name in enumerate(model.label_names)
        }
    for name, rows in groups.items():
        if len(rows) < components:
            raise DistvaeError(
                f"--components is {components}",
                f"label {name} has {len(rows)} training images, and each needs one at least",
                "Take fewer.",
            )
    return groups


def _latents(model: "VAE", data: "ImageData", seed: int) -> NDArray[np.float64]:
    """One draw from the posterior of each training image ``[N, Z]``."""
    import torch

    from distvae.blocks import fastest_device
    from distvae.data.batches import ResidentImages
    from distvae.evaluation.passes import Block, Pass, gathered, through

    device = fastest_device()
    model, images = model.to(device), ResidentImages.from_split(data.train).to(device)

    def drawn(block: Block) -> tuple[torch.Tensor]:
        context = model.conditioner(block.batch.conditions)
        (z,) = model.drawn(model.inputs_of(block.batch), context, block.batch.noise)
        return (z,)

    with progress_bar("encoding", len(data.train)) as advance, torch.no_grad():
        (z,) = gathered(through(drawn, Pass(model, images, seed), advance=advance))
    latents: NDArray[np.float64] = z.double().numpy()
    return latents


def _fitted(
    latents: NDArray[np.float64], groups: dict[str, NDArray[np.int64]], config: FitPriorConfig
) -> tuple["FittedPrior", dict[str, float]]:
    """The prior, and the mean log-density of each label's latents under it."""
    import torch
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    from distvae.priors.fitted import FittedPrior

    fits, gains = [], {}
    with progress_bar("fitting", len(groups)) as advance, warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the fit is good all the same
        for name, rows in groups.items():
            mixture = GaussianMixture(
                config.components,
                max_iter=MOST_STEPS,
                reg_covar=REGULARIZATION,
                random_state=config.seed,
            ).fit(latents[rows])
            fits.append(mixture)
            gains[name] = float(mixture.score(latents[rows]))
            advance(1)
    mean, covariance, weights = (
        np.stack([getattr(fit, part) for fit in fits])
        for part in ("means_", "covariances_", "weights_")
    )
    tensors = mean, np.linalg.cholesky(covariance), np.log(np.maximum(weights, 1e-12))
    return FittedPrior(*(torch.from_numpy(part).float() for part in tensors)), gains
