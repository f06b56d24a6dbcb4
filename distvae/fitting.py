"""`distvae fit-prior`: a Gaussian mixture of a run's latents, by label, to draw from.

Legend: N images, Z latent dimensions, M components, G sets of them: one for each label, or 1.
"""

import shlex
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
from distvae.values import DataName, RunName

if TYPE_CHECKING:
    from torch import Tensor

    from distvae.data.store import ImageData
    from distvae.models import VAE
    from distvae.priors.fitted import FittedPrior


@dataclass(frozen=True)
class FitPriorConfig:
    """Fit a mixture of Gaussians to what the encoder makes of the training images.

    Each label has its own, with full covariances; then `distvae sample --prior fitted` draws from
    it. Nothing is trained: the model stays as it is.
    """

    EXAMPLES = ("distvae fit-prior runs/mnist-cvae",)

    run: Annotated[RunName | None, Positional] = None
    """Run folder or one of its checkpoints; left out: the newest run."""
    data: DataName | None = None
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
    from distvae.priors.fitted import FACTS, TENSORS

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
    console.print(f"written to {run.model}: {TENSORS}, {FACTS}; draw from it: {sample}")


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


def _latents(model: "VAE", data: "ImageData", seed: int) -> "Tensor":
    """One draw from the posterior of each training image ``[N, Z]``, float64."""
    import torch

    from distvae.blocks import fastest_device, for_doubles
    from distvae.data.batches import ResidentImages
    from distvae.evaluation.passes import Block, Pass, through
    from distvae.tensor_cores import FLOAT32, multiply_in

    device = fastest_device()
    multiply_in(FLOAT32, device)
    model, images = model.to(device), ResidentImages.from_split(data.train).to(device)

    def drawn(block: Block) -> torch.Tensor:
        context = model.conditioner(block.batch.conditions)
        (z,) = model.drawn(model.inputs_of(block.batch), context, block.batch.noise)
        return z

    with progress_bar("encoding", len(data.train)) as advance, torch.no_grad():
        parts = list(through(drawn, Pass(model, images, seed), advance=advance))
        return torch.cat(parts).to(for_doubles(device)).double()


def _fitted(
    latents: "Tensor", groups: dict[str, NDArray[np.int64]], config: FitPriorConfig
) -> tuple["FittedPrior", dict[str, float]]:
    """The prior, and the mean log-density of each label's latents under it."""
    import torch

    from distvae.gaussians import fit_gaussians
    from distvae.priors.fitted import FittedPrior

    fits, gains = [], {}
    with progress_bar("fitting", len(groups)) as advance:
        for name, rows in groups.items():
            points = latents[torch.from_numpy(rows).to(latents.device)]
            fits.append(fit := fit_gaussians(points, config.components, config.seed))
            gains[name] = float(fit.log_prob(points).mean())
            advance(1)
    weights, means, factors = (torch.stack(part).float().cpu() for part in zip(*fits, strict=True))
    return FittedPrior(means, factors, weights.clamp_min(1e-12).log()), gains
