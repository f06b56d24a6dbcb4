"""`distvae evaluate`: the numbers of a run on its test split, as a table and as evaluation.json."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import tyro

from distvae.card import EVALUATION, write_card
from distvae.config import DataConfig
from distvae.errors import DistvaeError
from distvae.files import write_json
from distvae.runs import find_run
from distvae.terminal import make_console, progress_bar, table

if TYPE_CHECKING:
    from distvae.data.store import ImageData
    from distvae.models import VAE

NAMES = {
    "elbo": "elbo, nats per image",
    "elbo_standard_error": "  its standard error over the images",
    "distortion": "distortion, nats per image",
    "rate": "rate, nats per image",
    "bits_per_dim": "bits per pixel and channel",
    "active_units": "active latents",
    "latent_dim": "  of",
}
JUDGED = {
    "judge_test_accuracy": "the judge itself, on real test images",
    "diversity": "diversity of generated images (real ones: 100 %)",
    "diversity_pixels": "  the same between pixels",
    "label_adherence_swapped_z": "label obeyed under swapped z",
    "label_adherence_swapped_noise": "label obeyed under swapped noise",
    "judge_accuracy": "judge accuracy on generated images",
    "judge_accuracy_standard_error": "  its standard error",
}


@dataclass(frozen=True)
class EvaluateConfig:
    """Measure a trained model on its test split.

    Elbo, distortion, rate, bits per pixel and active latents; for a conditional model also how well
    generated images obey their label, by a small classifier trained on the real training images,
    with a diversity so that a collapsed model cannot score well.
    """

    run: Annotated[str | None, tyro.conf.Positional] = None
    """Run folder or one of its checkpoints; left out: the newest run."""
    seed: int = 0
    """Seed of the posterior draws, the binarization and the generated images."""
    judge: bool = True
    """Whether to judge generated images (--no-judge leaves it out)."""


def evaluate_run(config: EvaluateConfig) -> None:
    """Print the table; write evaluation.json and the model card of a run.

    Raises:
        DistvaeError: no such run, or its data is gone or has changed.
    """
    import torch

    from distvae.data.batches import ResidentImages
    from distvae.data.store import open_data
    from distvae.evaluation.elbo import elbo_metrics
    from distvae.models import VAE

    run = find_run(config.run)
    console = make_console()
    if config.run is None:
        console.print(f"newest run: {run.folder}")
    settings = run.config().data
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = VAE.from_pretrained(run.model).to(device)
    data = open_data(settings, progress_bar)
    _same_data(run.record()["data"], data)
    images = ResidentImages.from_split(data.test).to(device)
    binarize = settings.binarize or "none"
    with progress_bar("elbo", len(data.test)) as advance:
        bound = elbo_metrics(model, images, binarize, config.seed, advance=advance)
        values = dict(bound)
    rows = [(told, f"{values[name]:.5g}") for name, told in NAMES.items()]
    if config.judge and model.conditional:
        from distvae.evaluation.generation import accuracy_by_label

        values |= _judged(model, data, settings, config.seed)
        rows += [(told, percent(values[name])) for name, told in JUDGED.items() if name in values]
        rows += [
            (f"  of label {name}", percent(accuracy))
            for name, accuracy in accuracy_by_label(values).items()
        ]
    console.print(table(f"{run.model}: {len(data.test):,} test images", rows))
    if run.model == run.folder:
        write_json(run.folder / EVALUATION, values)
        write_card(run.folder)
        console.print(f"written to {run.folder / EVALUATION} and {run.folder / 'README.md'}")


def _judged(model: "VAE", data: "ImageData", settings: DataConfig, seed: int) -> dict[str, float]:
    from distvae.data.store import cache_folder
    from distvae.evaluation.generation import generation_metrics
    from distvae.evaluation.judge import get_judge

    device = model.to_posterior.weight.device
    judge = get_judge(data, cache_folder(settings), device, progress_bar)
    with progress_bar("judging generated images", data.num_labels) as advance:
        metrics = generation_metrics(
            model, data, judge, seed, binarize=settings.binarize or "none", advance=advance
        )
        return dict(metrics)


def percent(share: float) -> str:
    """A share of one with two decimals in percent.

    >>> percent(0.98765)
    '98.77 %'
    """
    return f"{100.0 * share:.2f} %"


def _same_data(recorded: dict[str, str], data: "ImageData") -> None:
    if recorded["fingerprint"] != data.fingerprint:
        raise DistvaeError(
            f"{data.source} is not what the run was trained on",
            f"its fingerprint was {recorded['fingerprint']} and is {data.fingerprint}",
            "Put the data back as it was, or train anew.",
        )
