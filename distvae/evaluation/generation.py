"""How well a conditional model generates: the right label, the label in charge, and variety.

Everything here needs labels. A model that draws without a label has none to be held to, so there
is nothing to compute for it, even where its data are labelled.

Legend: B batch, C channels, H height, W width, Z latent dimensions, F features, L labels.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import torch
from torch import Tensor

from distvae.config import ModelConfig
from distvae.data.batches import ResidentImages
from distvae.data.inputs import NoiseSource, to_input
from distvae.data.store import ImageData
from distvae.evaluation.confusion import confusion_metrics
from distvae.evaluation.diversity import Ratio, diversity, diversity_metrics, evenly
from distvae.evaluation.judge import Judge
from distvae.evaluation.probes import share_metrics
from distvae.labels import numbers_of
from distvae.posteriors import Posterior
from distvae.priors import Prior

IMAGES = 10_000
"""Images generated in all, and test images taken, at most."""
BLOCK = 250
BY_LABEL = "judge_accuracy/"


class ConditionalGenerator(Protocol):
    """What is asked of a model; see :class:`distvae.models.ConditionalVAE`."""

    @property
    def config(self) -> ModelConfig:
        """It tells the number of latents."""

    @property
    def prior(self) -> Prior:
        """It turns noise into latents and back."""

    def sample(self, labels: Sequence[int | str] | None, n: int, seed: int) -> Tensor:
        """``n`` images of each label, ``[len(labels) * n, C, H, W]`` in [0, 1]."""

    def infer(self, images: Tensor, labels: Tensor | None) -> Posterior:
        """Posterior of the latents ``[B, Z]``."""

    def render(self, z: Tensor, labels: Tensor | None) -> Tensor:
        """Images ``[B, C, H, W]`` in [0, 1]."""


@torch.no_grad()
def generation_metrics(
    model: ConditionalGenerator,
    data: ImageData,
    judge: Judge,
    seed: int = 0,
    per_label: int | None = None,
    binarize: str = "none",
    advance: Callable[[int], None] = lambda count: None,
    confusion: Callable[[Tensor], None] = lambda counts: None,
) -> Iterator[tuple[str, float]]:
    """Fidelity to the label and variety of what a conditional model draws.

    Args:
        model: in evaluation mode, on the judge's device.
        data: labelled images; the model knows the same labels.
        judge: of the same data.
        seed: seed of all draws.
        per_label: images to generate for each label; left out, 10 000 in all, but at least 10 and
            at most 1000 each.
        binarize: what the encoder was trained on, see :func:`distvae.data.inputs.to_input`.
        advance: told whenever a label is done.
        confusion: told how many images were asked of each label (rows) and taken for each
            (columns), int64 ``[L, L]``.

    Yields:
        Estimates with their ``_standard_error``:
        ``judge_accuracy``: fraction of generated images that the judge takes for their label, with
        ``judge_accuracy_worst_label``, ``judge_accuracy_spread`` from the best label to the worst,
        and ``judge_accuracy/NAME`` of each label;
        ``judge_confusion/ASKED>TAKEN``: fraction of a label's images taken for another, where there
        are any;
        ``judge_test_accuracy``: the same of real test images, the most to be hoped for;
        ``diversity``: mean distance between two generated images of a label over that between two
        real test images, in the judge's features, averaged over the labels: 0 where a label always
        gives the same image, 1 where images vary as real ones do. Only images that the judge takes
        for their label count, so that wrong images cannot pass for variety; labels with too few
        test images to compare are left out. ``diversity/NAME`` of each label;
        ``diversity_pixels``: the same between pixels; averaged, smooth images stay below 1;
        ``label_adherence_swapped_noise``: fraction of test images which, encoded with their own
        label, moved to where another label's prior has them, and decoded with that label, are taken
        for it: 1 where the label decides, 0 where the latents do; only of a prior that has one
        noise for each latent;
        ``label_adherence_swapped_z``: the same with the latents left where they are. With a prior
        for each label they then stay the old label's, so it may be low without fault; with one
        prior for all both are the same. Neither is there for a single label.
    """
    per_label = per_label or images_per_label(data.num_labels)
    test = ResidentImages.from_split(data.test).to(judge.model.head.weight.device)
    counts: list[Tensor] = []
    diversities: dict[str, tuple[Ratio, Ratio]] = {}
    for label, number in enumerate(numbers_of(data.label_names).tolist()):
        images = model.sample(labels=[number], n=per_label, seed=seed * data.num_labels + label)
        counts.append(torch.bincount(judge.classify(images).cpu(), minlength=data.num_labels))
        advance(1)
        if ratios := diversity(images, test, label, judge):
            diversities[data.label_names[label]] = ratios
    matrix = torch.stack(counts)
    confusion(matrix)
    hits = (matrix.diag().double() / per_label).tolist()
    variance = sum(hit * (1.0 - hit) for hit in hits) / per_label
    yield "judge_accuracy", sum(hits) / len(hits)
    yield "judge_accuracy_standard_error", math.sqrt(variance) / len(hits)
    yield "judge_accuracy_worst_label", min(hits)
    yield "judge_accuracy_spread", max(hits) - min(hits)
    for name, hit in zip(data.label_names, hits, strict=True):
        yield from share_metrics(BY_LABEL + name, hit, per_label)
    yield from confusion_metrics(matrix, data.label_names)
    yield from share_metrics("judge_test_accuracy", judge.test_accuracy, len(test.images))
    yield from diversity_metrics(diversities)
    if data.num_labels > 1:
        moved, raw = _swapped(model, test, data, judge, seed, binarize)
        size = min(len(test.images), IMAGES)
        if model.prior.invertible:
            yield from share_metrics("label_adherence_swapped_noise", moved, size)
        yield from share_metrics("label_adherence_swapped_z", raw, size)


def images_per_label(num_labels: int) -> int:
    """How many images of each label are judged: 10 000 in all, but 10 to 1000 each."""
    return max(10, min(1000, IMAGES // num_labels))


def _swapped(
    model: ConditionalGenerator,
    test: ResidentImages,
    data: ImageData,
    judge: Judge,
    seed: int,
    binarize: str,
) -> tuple[float, float]:
    """Fractions of test images taken for another label that they were decoded with.

    Their latents once moved with the label, by way of the prior's noise, and once as they are.
    """
    pixel_shape = data.image_shape if binarize == "dynamic" else None
    source = NoiseSource(
        seed, "evaluation", model.config.latent_dim, pixel_shape, judge.model.head.weight.device
    )
    generator = torch.Generator().manual_seed(seed)
    rows = evenly(torch.arange(len(test.images)), IMAGES)
    hits = torch.zeros(2, dtype=torch.int64)
    for block, part in enumerate(torch.split(rows, BLOCK)):
        grey, own = test.gather(part)
        assert own is not None
        noise = source.draw(block, BLOCK).at(slice(0, len(part)))
        z = model.infer(to_input(grey, binarize, noise.pixels), own).sample(noise.latent)
        turn = torch.randint(1, data.num_labels, own.shape, generator=generator)
        other = (own + turn.to(own.device)) % data.num_labels
        prior = model.prior
        moved = prior.transform(prior.whiten(z, own), other) if prior.invertible else z
        for kind, latents in enumerate((moved, z)):
            hits[kind] += (judge.classify(model.render(latents, other)) == other).sum().cpu()
    moved_share, raw_share = (hits / len(rows)).tolist()
    return moved_share, raw_share
