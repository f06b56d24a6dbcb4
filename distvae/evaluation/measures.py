"""What `distvae evaluate --metrics` can name, and what each needs."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from distvae.config import DataConfig
from distvae.data.batches import ResidentImages
from distvae.data.store import ImageData, cache_folder
from distvae.errors import DistvaeError
from distvae.evaluation.disentanglement import disentanglement_metrics
from distvae.evaluation.elbo import elbo_metrics
from distvae.evaluation.generation import generation_metrics
from distvae.evaluation.judge import get_judge
from distvae.evaluation.latents import latent_metrics
from distvae.evaluation.likelihood import likelihood_metrics, log_likelihood, marginal
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

    @property
    def binarize(self) -> str:
        """How the model was shown its images."""
        return self.settings.binarize or "none"


@dataclass(frozen=True)
class Metric:
    """A family of figures."""

    measure: Callable[[Subject], Values]
    needs: Literal["", "conditional", "factors"] = ""
    shared: bool = False
    """Whether several processes measure it together; else one does."""


def check(name: str, model: VAE, data: ImageData) -> None:
    """Refuse a metric before the first is measured.

    Raises:
        DistvaeError: it needs labels or factors that are not there.
    """
    needs = METRICS[name].needs
    if needs == "conditional" and not model.conditional:
        raise DistvaeError(
            f"--metrics {name} needs a conditional model and this one knows no labels",
            "it was trained with --model vae",
            f"Leave {name} out, or train with --model cvae on data with labels.",
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
    model, data = subject.model, subject.data
    cache: Path = cache_folder(subject.settings)
    judge = get_judge(data, cache, subject.images.device, progress_bar)
    with progress_bar("judging generated images", data.num_labels) as advance:
        yield from generation_metrics(
            model, data, judge, subject.seed, binarize=subject.binarize, advance=advance
        )


METRICS = {
    "elbo": Metric(_elbo, shared=True),
    "likelihood": Metric(_likelihood, shared=True),
    "marginal": Metric(_marginal, needs="conditional", shared=True),
    "latents": Metric(_latents),
    "factors": Metric(_factors, needs="factors"),
    "judge": Metric(_judge, needs="conditional"),
}
