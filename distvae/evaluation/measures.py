"""What `distvae evaluate --metrics` can name, and what each needs."""

import dataclasses
import importlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from distvae.card import PICTURES
from distvae.config import DataConfig
from distvae.data.batches import ResidentImages
from distvae.data.cache import cache_folder
from distvae.data.store import ImageData
from distvae.errors import DistvaeError
from distvae.evaluation.augmentation import augmentation_metrics
from distvae.evaluation.confusion import write_confusion
from distvae.evaluation.disentanglement import disentanglement_metrics
from distvae.evaluation.distances import distance_metrics
from distvae.evaluation.downstream import downstream_metrics, passes
from distvae.evaluation.elbo import elbo_metrics
from distvae.evaluation.ensemble import Ensemble, get_judges
from distvae.evaluation.features import Pixels, Space, find_extractors, inception_weights
from distvae.evaluation.generation import generation_metrics
from distvae.evaluation.latents import latent_metrics
from distvae.evaluation.likelihood import likelihood_metrics, log_likelihood, marginal
from distvae.evaluation.neighbours import find_neighbours, neighbour_metrics, write_neighbours
from distvae.models import VAE
from distvae.terminal import progress_bar

Values = Iterator[tuple[str, float]]


@dataclass(frozen=True)
class Share:
    """What this process does of what is measured by several."""

    rank: int
    world_size: int
    reduce: Callable[[Tensor], Tensor]
    """Sums a tensor over processes."""


@dataclass(frozen=True)
class Subject:
    """What is measured, and how."""

    model: VAE
    data: ImageData
    images: ResidentImages
    """The test split."""
    settings: DataConfig
    draws: int
    seed: int
    share: Share
    folder: Path | None
    """Where pictures go, if anywhere."""

    @property
    def binarize(self) -> str:
        """How the model was shown its images."""
        return self.settings.binarize or "none"

    def labelled(self) -> "Subject":
        """The same on labelled images only, where some are."""
        data = self.data.labelled()
        if data is self.data:
            return self
        images = ResidentImages.from_split(data.test).to(self.images.device)
        return dataclasses.replace(self, data=data, images=images)

    def judges(self) -> Ensemble | None:
        """Classifiers of the data, None where they have no labels to tell apart."""
        if self.data.num_labels < 2:
            return None
        cache: Path = cache_folder(self.settings)
        return get_judges(self.data, cache, self.images.device, progress_bar)


@dataclass(frozen=True)
class Metric:
    """A family of figures."""

    measure: Callable[[Subject], Values]
    needs: Literal["", "conditional", "factors", "features", "labels"] = ""
    unlabelled: bool = False
    """Whether images without a label are measured too, where others have one."""
    shared: bool = False
    """Whether several processes measure it together; else one does."""
    imports: str = ""
    """A package that is imported while it is measured; missing, it is told before."""


def check(name: str, model: VAE, data: ImageData) -> None:
    """Refuse a metric before the first is measured.

    Raises:
        DistvaeError: it needs labels or factors that are not there.
        ModuleNotFoundError: it needs a package that is not installed.
    """
    needs = METRICS[name].needs
    if METRICS[name].imports:
        importlib.import_module(METRICS[name].imports)
    if needs == "conditional" and not model.conditional:
        raise DistvaeError(
            f"--metrics {name} needs a conditional model and this one knows no labels",
            "it was trained with --model vae",
            f"Leave {name} out, or train with --model cvae on data with labels.",
        )
    if needs == "labels" and data.num_labels < 2:
        raise DistvaeError(
            f"--metrics {name} needs images of at least two labels, and {data.source} has none",
            "it measures how well the latents tell labels apart",
            f"Leave {name} out, or name the labels by --label-column when you train.",
        )
    if needs == "features" and not data.num_labels and not inception_weights():
        raise DistvaeError(
            f"--metrics {name} needs features of images, and {data.source} has no labels",
            "features are those of a classifier trained on labelled data, or of Inception-v3 where "
            "its weights and the package torch_fidelity are on this machine",
            f"Leave {name} out, or name the labels by --label-column when you train.",
        )
    if needs == "factors" and not data.factors:
        raise DistvaeError(
            f"--metrics {name} needs data whose factors are known, and {data.source} is none",
            "the scores hold latents against what the images were drawn from",
            f"Leave {name} out, or train on --data sprites or on dSprites' own .npz.",
        )


def _elbo(subject: Subject) -> Values:
    share = subject.share
    with progress_bar("elbo", len(subject.data.test)) as advance:
        yield from elbo_metrics(
            *(subject.model, subject.images, subject.binarize, subject.seed),
            *(share.rank, share.world_size, share.reduce, advance),
            label_names=subject.data.label_names,
        )


def _likelihood(subject: Subject) -> Values:
    share = subject.share
    with progress_bar("log-likelihood", len(subject.data.test)) as advance:
        estimate = log_likelihood(
            *(subject.model, subject.images, subject.binarize, subject.seed, subject.draws, None),
            *(share.rank, share.world_size, share.reduce, advance),
        )
    yield "log_likelihood_draws", float(subject.draws)
    labels, names = subject.images.labels, subject.data.label_names
    yield from likelihood_metrics(estimate, labels, names, "log_likelihood")


def _marginal(subject: Subject) -> Values:
    share, names = subject.share, subject.data.label_names
    total = len(subject.data.test) * len(names)
    with progress_bar("log-likelihood under every label", total) as advance:
        by_label = [
            log_likelihood(
                *(subject.model, subject.images, subject.binarize, subject.seed, subject.draws),
                *(label, share.rank, share.world_size, share.reduce, advance),
            )
            for label in range(len(names))
        ]
    train = ResidentImages.from_split(subject.data.train).labels
    assert train is not None
    counts = torch.bincount(train, minlength=len(names))
    estimate = marginal(by_label, counts / counts.sum())
    yield "log_marginal_draws", float(subject.draws)
    yield from likelihood_metrics(estimate, subject.images.labels, names, "log_marginal")


def _latents(subject: Subject) -> Values:
    with progress_bar("latents", len(subject.data.test)) as advance:
        yield from latent_metrics(
            subject.model, subject.images, subject.binarize, subject.seed, advance
        )


def _factors(subject: Subject) -> Values:
    yield from disentanglement_metrics(subject.model, subject.data, subject.seed)


def _judge(subject: Subject) -> Values:
    judges, data = subject.judges(), subject.data
    assert judges is not None

    def draw(counts: Tensor) -> None:
        if subject.folder:
            write_confusion(subject.folder / CONFUSION, counts, data.label_names)

    with progress_bar("judging generated images", data.num_labels) as advance:
        yield from generation_metrics(
            *(subject.model, data, judges, subject.seed),
            binarize=subject.binarize, advance=advance, confusion=draw,
        )  # fmt: skip


def _distances(subject: Subject) -> Values:
    judges = None if inception_weights() else subject.judges()
    extractors = find_extractors(judges, subject.images.device)
    with progress_bar("features of images", 3 * min(IMAGES, len(subject.data.test))) as advance:
        yield from distance_metrics(
            *(subject.model, subject.data, extractors, subject.seed, IMAGES, advance)
        )


def _neighbours(subject: Subject) -> Values:
    device = subject.images.device
    judges = None if inception_weights() else subject.judges()
    spaces: Sequence[Space] = find_extractors(judges, device) or [Pixels(device)]
    with progress_bar("nearest training images", len(subject.data.train)) as advance:
        found = find_neighbours(subject.model, subject.data, spaces, subject.seed, advance=advance)
    if subject.folder:
        write_neighbours(subject.folder / NEIGHBOURS, subject.data, found)
    yield from neighbour_metrics(found)


def _downstream(subject: Subject) -> Values:
    model, data = subject.model, subject.data
    with progress_bar("telling labels", passes(model, data)) as advance:
        yield from downstream_metrics(model, data, subject.binarize, subject.seed, advance)


def _augmentation(subject: Subject) -> Values:
    with progress_bar("classifiers", 3 * REPEATS) as advance:
        yield from augmentation_metrics(
            subject.model, subject.data, subject.seed, seeds=REPEATS, advance=advance
        )


IMAGES, REPEATS = 10_000, 3
CONFUSION, NEIGHBOURS = (f"{name}.png" for name in PICTURES)
METRICS = {
    "elbo": Metric(_elbo, unlabelled=True, shared=True),
    "likelihood": Metric(_likelihood, unlabelled=True, shared=True),
    "marginal": Metric(_marginal, needs="conditional", shared=True),
    "latents": Metric(_latents),
    "factors": Metric(_factors, needs="factors", imports="sklearn"),
    "judge": Metric(_judge, needs="conditional"),
    "distances": Metric(_distances, needs="features"),
    "neighbours": Metric(_neighbours),
    "downstream": Metric(_downstream, needs="labels", imports="sklearn"),
    "augmentation": Metric(_augmentation, needs="conditional"),
}
