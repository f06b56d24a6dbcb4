"""How well a conditional model generates: the right label, the label in charge, and variety.

Everything here needs labels. A model that draws without a label has none to be held to, so there
is nothing to compute for it, even where its data are labelled.

Legend: B batch, C channels, H height, W width, Z latent dimensions, F features.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from distvae.config import ModelConfig
from distvae.data.batches import ResidentImages
from distvae.data.inputs import NoiseSource, to_input
from distvae.data.store import ImageData
from distvae.evaluation.judge import Judge, shrink
from distvae.posteriors import Posterior
from distvae.priors import Prior

IMAGES = 10_000
"""Images generated in all, and test images taken, at most."""
BLOCK = 250
COMPARED = 500
"""Images of a label among which distances are taken, at most."""
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

    def encode(self, images: Tensor, labels: Tensor | None) -> Posterior:
        """Posterior of the latents ``[B, Z]``."""

    def decode(self, z: Tensor, labels: Tensor | None) -> Tensor:
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

    Yields:
        ``judge_accuracy``: fraction of generated images that the judge takes for their label, its
        ``judge_accuracy_standard_error``, ``judge_accuracy_worst_label``, and
        ``judge_accuracy/NAME`` for each label;
        ``judge_test_accuracy``: the same of real test images, the most to be hoped for;
        ``diversity``: mean distance between two generated images of a label over that between two
        real test images, in the judge's features, averaged over the labels: 0 where a label always
        gives the same image, 1 where images vary as real ones do. Only images that the judge takes
        for their label count, so that wrong images cannot pass for variety; labels with too few
        test images to compare are left out.
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
    hits, diversities = [], []
    for label in range(data.num_labels):
        images = model.sample(labels=[label], n=per_label, seed=seed * data.num_labels + label)
        hits.append((judge.classify(images) == label).double().mean().item())
        advance(1)
        if ratios := _diversity(images, _real_images(test, label), label, judge):
            diversities.append(ratios)
    variance = sum(hit * (1.0 - hit) for hit in hits) / per_label
    yield "judge_accuracy", sum(hits) / len(hits)
    yield "judge_accuracy_standard_error", math.sqrt(variance) / len(hits)
    yield "judge_accuracy_worst_label", min(hits)
    for name, hit in zip(data.label_names, hits, strict=True):
        yield BY_LABEL + name, hit
    yield "judge_test_accuracy", judge.test_accuracy
    if diversities:
        features, pixels = torch.tensor(diversities).mean(dim=0).tolist()
        yield "diversity", features
        yield "diversity_pixels", pixels
    if data.num_labels > 1:
        moved, raw = _swapped(model, test, data, judge, seed, binarize)
        if model.prior.invertible:
            yield "label_adherence_swapped_noise", moved
        yield "label_adherence_swapped_z", raw


def images_per_label(num_labels: int) -> int:
    """How many images of each label are judged: 10 000 in all, but 10 to 1000 each."""
    return max(10, min(1000, IMAGES // num_labels))


def _real_images(test: ResidentImages, label: int) -> Tensor:
    """Some test images of a label ``[B, C, H, W]`` in [0, 1], taken evenly."""
    assert test.labels is not None
    rows = _evenly((test.labels == label).nonzero().flatten(), COMPARED)
    return to_input(test.gather(rows)[0], "none", None)


def _diversity(
    generated: Tensor, real: Tensor, label: int, judge: Judge
) -> tuple[float, float] | None:
    """Spread of generated over that of real images of a label, in features and in pixels.

    None where the real ones are too few or all alike.
    """
    spreads = [_spreads(images, label, judge) for images in (generated, real)]
    (features, pixels), (real_features, real_pixels) = spreads
    if not (real_features and real_pixels):
        return None
    return features / real_features, pixels / real_pixels


def _spreads(images: Tensor, label: int, judge: Judge) -> tuple[float, float]:
    """Mean distance in features and in pixels between images that the judge takes for the label."""
    features = judge.features(images)
    rows = _evenly((judge.label(features) == label).nonzero().flatten(), COMPARED)
    return _spread(features[rows]), _spread(shrink(images[rows]))


def _spread(points: Tensor) -> float:
    """Mean distance between two different rows of ``[N, ...]``; 0 for fewer than two rows."""
    return functional.pdist(points.flatten(1)).mean().item() if len(points) > 1 else 0.0


def _evenly(rows: Tensor, most: int) -> Tensor:
    """At most so many rows, evenly spaced."""
    return rows[:: max(1, -(-len(rows) // most))]


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
    rows = _evenly(torch.arange(len(test.images)), IMAGES)
    hits = torch.zeros(2, dtype=torch.int64)
    for block, part in enumerate(torch.split(rows, BLOCK)):
        grey, own = test.gather(part)
        assert own is not None
        noise = source.draw(block, BLOCK).at(slice(0, len(part)))
        z = model.encode(to_input(grey, binarize, noise.pixels), own).sample(noise.latent)
        turn = torch.randint(1, data.num_labels, own.shape, generator=generator)
        other = (own + turn.to(own.device)) % data.num_labels
        prior = model.prior
        moved = prior.transform(prior.whiten(z, own), other) if prior.invertible else z
        for kind, latents in enumerate((moved, z)):
            hits[kind] += (judge.classify(model.decode(latents, other)) == other).sum().cpu()
    moved_share, raw_share = (hits / len(rows)).tolist()
    return moved_share, raw_share
