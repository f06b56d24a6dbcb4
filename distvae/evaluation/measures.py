"""What `distvae evaluate --metrics` can name, and what each needs."""

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from distvae.card import PICTURES
from distvae.config import DataConfig
from distvae.data.batches import ResidentImages
from distvae.data.cache import cache_folder
from distvae.data.store import ImageData
from distvae.evaluation.augmentation import augmentation_metrics
from distvae.evaluation.confusion import write_confusion
from distvae.evaluation.disentanglement import IMAGES as FACTOR_IMAGES
from distvae.evaluation.disentanglement import REPEATS as REPEATS_OF_FACTORS
from distvae.evaluation.disentanglement import disentanglement_metrics
from distvae.evaluation.distances import distance_metrics
from distvae.evaluation.downstream import downstream_metrics, passes
from distvae.evaluation.elbo import elbo_metrics
from distvae.evaluation.ensemble import Ensemble, get_judges
from distvae.evaluation.features import Pixels, Space, find_extractors, inception_weights
from distvae.evaluation.generation import generation_metrics, images_per_label
from distvae.evaluation.latents import latent_metrics
from distvae.evaluation.likelihood import Estimate, likelihood_metrics, log_likelihood, marginal
from distvae.evaluation.needs import CROSS_ENTROPY, REAL
from distvae.evaluation.neighbours import find_neighbours, neighbour_metrics, write_neighbours
from distvae.evaluation.passes import Advance, Share
from distvae.models import VAE
from distvae.terminal import progress_bar

Values = Iterator[tuple[str, float]]


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
    leave: Callable[[str, str], None]
    """Told the name of a figure that cannot be had, and why."""

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
    unlabelled: bool = False
    """Whether images without a label are measured too, where others have one."""
    shared: bool = False
    """Whether several processes measure it together; else one does."""
    imports: str = ""
    """A package that is imported while it is measured; missing, it is told before."""
    images: Callable[[Subject], str] = lambda subject: f"{len(subject.data.test):,} test images"
    """What it is measured on."""


def _elbo(subject: Subject) -> Values:
    names = subject.data.label_names
    with progress_bar("elbo", len(subject.data.test)) as advance:
        found = dict(
            elbo_metrics(subject.model, subject.images, subject.seed, subject.share, advance, names)
        )
    if BITS not in found:
        subject.leave(BITS, CROSS_ENTROPY if subject.model.domain.levels else REAL)
    yield from found.items()


def _likelihood(subject: Subject) -> Values:
    with progress_bar("log-likelihood", len(subject.data.test)) as advance:
        estimate = _log_likelihood(subject, None, advance)
    yield "log_likelihood_draws", float(subject.draws)
    labels, names = subject.images.labels, subject.data.label_names
    yield from likelihood_metrics(estimate, labels, names, "log_likelihood")


def _log_likelihood(subject: Subject, label: int | None, advance: Advance) -> Estimate:
    model, images, seed, draws = subject.model, subject.images, subject.seed, subject.draws
    return log_likelihood(model, images, seed, draws, label, subject.share, advance)


def _marginal(subject: Subject) -> Values:
    names = subject.data.label_names
    total = len(subject.data.test) * len(names)
    with progress_bar("log-likelihood under every label", total) as advance:
        by_label = [_log_likelihood(subject, label, advance) for label in range(len(names))]
    train = ResidentImages.from_split(subject.data.train).labels
    assert train is not None
    counts = torch.bincount(train, minlength=len(names))
    estimate = marginal(by_label, counts / counts.sum())
    yield "log_marginal_draws", float(subject.draws)
    yield from likelihood_metrics(estimate, subject.images.labels, names, "log_marginal")


def _latents(subject: Subject) -> Values:
    with progress_bar("latents", len(subject.data.test)) as advance:
        yield from latent_metrics(
            subject.model,
            subject.images,
            subject.data.train,
            subject.seed,
            advance,
            subject.leave,
        )


def _grid(subject: Subject) -> str:
    factors = subject.data.factors
    size = math.prod(len(factor.values) for factor in factors)
    drawn = f"{REPEATS_OF_FACTORS} draws of {min(size, FACTOR_IMAGES):,}"
    return f"{drawn} of all {size:,} images of the grid, training images among them"


def _drawn(subject: Subject) -> str:
    each = images_per_label(subject.data.num_labels)
    return f"{each:,} generated images of each label, {len(subject.data.test):,} test images"


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
            subject.model,
            data,
            judges,
            subject.seed,
            advance=advance,
            confusion=draw,
            leave=subject.leave,
        )


def _distances(subject: Subject) -> Values:
    judges = None if inception_weights() else subject.judges()
    extractors = find_extractors(judges, subject.images.device)
    with progress_bar("features of images", 3 * min(IMAGES, len(subject.data.test))) as advance:
        yield from distance_metrics(
            subject.model, subject.data, extractors, subject.seed, IMAGES, advance
        )


def _neighbours(subject: Subject) -> Values:
    device = subject.images.device
    judges = None if inception_weights() else subject.judges()
    spaces: Sequence[Space] = find_extractors(judges, device) or [Pixels(device)]
    with progress_bar("nearest training images", len(subject.data.train)) as advance:
        found = find_neighbours(subject.model, subject.data, spaces, subject.seed, advance=advance)
    if subject.folder:
        write_neighbours(subject.folder / NEIGHBOURS, subject.data, found)
    figures = dict(neighbour_metrics(found))
    if RATIO not in figures:
        subject.leave(RATIO, "every test image is among the training images, too")
    yield from figures.items()


def _downstream(subject: Subject) -> Values:
    model, data = subject.model, subject.data
    with progress_bar("telling labels", passes(model, data)) as advance:
        yield from downstream_metrics(model, data, subject.seed, advance)


def _augmentation(subject: Subject) -> Values:
    with progress_bar("classifiers", 3 * REPEATS) as advance:
        yield from augmentation_metrics(
            subject.model, subject.data, subject.seed, seeds=REPEATS, advance=advance
        )


IMAGES, REPEATS = 10_000, 3
BITS, RATIO = "bits_per_dim", "neighbour_distance_ratio"
CONFUSION, NEIGHBOURS = (f"{name}.png" for name in PICTURES)
METRICS = {
    "elbo": Metric(_elbo, unlabelled=True, shared=True),
    "likelihood": Metric(_likelihood, unlabelled=True, shared=True),
    "marginal": Metric(_marginal, shared=True),
    "latents": Metric(_latents, imports="sklearn"),
    "factors": Metric(_factors, imports="sklearn", images=_grid),
    "judge": Metric(_judge, images=_drawn),
    "distances": Metric(_distances),
    "neighbours": Metric(_neighbours),
    "downstream": Metric(_downstream, imports="sklearn"),
    "augmentation": Metric(_augmentation),
}
