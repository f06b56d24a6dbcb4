"""What the latents are good for where images have labels: telling the label.

Legend: B batch, N images, Z latent dimensions, D pixels and channels, L labels.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from distvae.attributes import main_label
from distvae.data.batches import ResidentImages
from distvae.data.store import ImageData, Split
from distvae.draws.order import permutation
from distvae.draws.philox import Stream
from distvae.errors import DistvaeError
from distvae.evaluation.asked import with_label
from distvae.evaluation.classifiers import Floats, Ints, linear_probe, nearest_vote
from distvae.evaluation.judge import shrink
from distvae.evaluation.passes import Advance, Block, Pass, gathered, through, unwatched
from distvae.evaluation.probes import (
    Bools,
    accuracy_metrics,
    cluster_metrics,
    principal_components,
    share_metrics,
)
from distvae.latents import side_by_side
from distvae.models import VAE

TRAIN_IMAGES, TEST_IMAGES = 20_000, 10_000
"""At most, drawn without replacement."""
OF_PIXELS = 5
"""Runs of k-means on pixels, which have many more dimensions than latents."""
BAYES_PASSES = 100_000
"""Images times labels, at most, but for ``BAYES_LEAST`` images."""
BAYES_LEAST = 500


def downstream_metrics(
    model: VAE,
    data: ImageData,
    seed: int,
    advance: Advance = unwatched,
) -> Iterator[tuple[str, float]]:
    """How well labels can be told by the latents, and beside that by the pixels alone.

    Classifiers are fitted to the posterior means of training images. The encoder of a conditional
    model is given the label, so what they tell from its means is no merit; on the contrary, these
    should hold only what the label does not say, and a probe on means encoded with the images' own
    labels measures what leaked. Such a model is a classifier itself: by Bayes' rule an image has
    the label under which log p(y) + elbo(x|y) is largest.

    Args:
        model: in evaluation mode.
        data: with labels; training images of a stream are those of its resident sample.
        seed: of all draws and starts; dynamic binarization takes one draw of each image.
        advance: told the number of images done, :func:`passes` in all.

    Yields:
        of an unconditional model ``linear_probe_accuracy``, of a logistic regression on
        standardized means; ``knn_accuracy``, of a vote of the 10 nearest means; ``ari`` and
        ``nmi``, see :func:`distvae.evaluation.probes.cluster_metrics`;
        of a conditional model ``bayes_accuracy``, with one draw of noise for all labels and p(y) as
        in the training split, and of several attributes with the others as they are; where the
        prior has one noise for each latent ``label_leakage``, the
        accuracy of the linear probe on the noise that the means stand for (under a normal prior the
        means themselves; a prior may well have a place for each label, and to be there is no leak),
        and ``label_leakage_chance``, the largest share of a label: at that nothing leaks;
        of both, as a baseline, ``linear_probe_pixels_accuracy`` and ``knn_pixels_accuracy``: the
        same on grey levels, those of large images averaged down to 32 pixels a side;
        of an unconditional model ``linear_probe_pca_accuracy`` and ``knn_pca_accuracy``, the same
        on as many principal components of these as there are latents, and ``pixels_ari`` and
        ``pixels_nmi``, of clusters of the pixels.
        Each accuracy has a binomial standard error over test images and, baselines and leakage
        apart, is told by label too, see :func:`distvae.evaluation.probes.accuracy_metrics`.

    Raises:
        DistvaeError: the training images are not of at least two labels.
    """
    if data.train.labels is None or len(np.unique(data.train.labels)) < 2:
        raise DistvaeError(
            f"nothing to tell apart in {data.source}",
            "expected training images of at least two labels",
            "Name the label column with --label-column, or leave this metric out.",
        )
    label_names = data.label_names
    train = encoded(model, data.train, Stream.EVALUATION_OF_TRAINING, seed, TRAIN_IMAGES, advance)
    test = encoded(model, data.test, Stream.EVALUATION, seed, TEST_IMAGES, advance)

    def measure(name: str, predicted: Ints) -> Iterator[tuple[str, float]]:
        yield from accuracy_metrics(name, predicted == test.labels, test.labels, label_names, seed)

    if not model.conditional:
        probed = linear_probe(train.codes, train.labels, test.codes)
        yield from measure("linear_probe_accuracy", probed)
        yield from measure("knn_accuracy", nearest_vote(train.codes, train.labels, test.codes))
        yield from cluster_metrics(test.codes, test.labels, len(label_names), seed)
    else:
        found = bayes_labels(model, data, seed, advance)
        yield from accuracy_metrics("bayes_accuracy", *found, label_names, seed)
        if model.latents.invertible:
            leaked = linear_probe(train.codes, train.labels, test.codes) == test.labels
            yield from share_metrics("label_leakage", float(leaked.mean()), len(leaked))
            yield "label_leakage_chance", float(np.bincount(test.labels).max() / len(test.labels))
    baselines = {"pixels": (train.pixels, test.pixels)}
    if not model.conditional:
        components = train.codes.shape[1]
        baselines["pca"] = principal_components(train.pixels, test.pixels, components)
        clusters = cluster_metrics(test.pixels, test.labels, len(label_names), seed, OF_PIXELS)
        yield from ((f"pixels_{name}", value) for name, value in clusters)
    for baseline, points in baselines.items():
        for name, classify in (("linear_probe", linear_probe), ("knn", nearest_vote)):
            hits = classify(points[0], train.labels, points[1]) == test.labels
            yield from share_metrics(f"{name}_{baseline}_accuracy", float(hits.mean()), len(hits))


def passes(model: VAE, data: ImageData) -> int:
    """Images that :func:`downstream_metrics` counts, one seen with L labels as L."""
    count = min(len(data.train), TRAIN_IMAGES) + min(len(data.test), TEST_IMAGES)
    return count + (_bayes_images(data) * data.num_labels if model.conditional else 0)


class Encoded(NamedTuple):
    """Some images of a split."""

    codes: Floats
    """Posterior means ``[N, Z]`` float64; of a conditional model the noise they stand for, where
    the prior is invertible."""
    pixels: Floats
    """Grey levels of small images ``[N, D]`` float32 in [0, 1]."""
    labels: Ints
    """``[N]``."""


@torch.no_grad()
def encoded(
    model: VAE, split: Split, stream: Stream, seed: int, most: int, advance: Advance
) -> Encoded:
    """At most so many images of a split, drawn by the seed."""
    whitened = model.conditional and model.latents.invertible

    def found(block: Block) -> tuple[Tensor, Tensor, Tensor]:
        assert block.labels is not None
        batch = block.batch
        context = model.conditioner(batch.conditions)
        means = model.means(model.inputs_of(batch), context)
        code = model.latents.whiten(means, context) if whitened else side_by_side(means)
        pixels = shrink(model.domain.to_values(batch.stored)).flatten(1)
        return code.double(), pixels, block.labels

    way = _pass(model, split, stream, seed, most)
    parts = gathered(through(found, way, advance=advance))
    return Encoded(*(part.numpy() for part in parts))


def _pass(model: VAE, split: Split, stream: Stream, seed: int, most: int) -> Pass:
    """At most so many images of a split, drawn by the seed."""
    images = ResidentImages.from_split(split).to(model.device)
    chosen = np.sort(permutation(len(split), seed, Stream.CHOICE)[:most])
    return Pass(model, images, seed, stream, torch.from_numpy(chosen))


@torch.no_grad()
def bayes_labels(model: VAE, data: ImageData, seed: int, advance: Advance) -> tuple[Bools, Ints]:
    """Whether a conditional model finds the label of a test image, and that label ``[N]``."""
    assert data.train.labels is not None
    counts = torch.from_numpy(np.bincount(data.train.labels, minlength=data.num_labels)).double()
    shares = (counts / counts.sum()).log().tolist()
    main = main_label(data.attributes) or 0

    def found(block: Block) -> tuple[Tensor, Tensor]:
        own, conditions = block.labels, block.batch.conditions
        assert own is not None
        assert conditions is not None
        joint = []
        for label, share in enumerate(shares):
            asked = with_label(conditions, torch.full_like(own, label), main)
            terms = model.terms(block.batch._replace(conditions=asked))
            joint.append(terms.log_likelihood.double() - terms.rate.double().sum(1) + share)
            advance(len(own))
        return torch.stack(joint).argmax(0) == own, own

    way = _pass(model, data.test, Stream.EVALUATION, seed, _bayes_images(data))
    hits, labels = gathered(through(found, way))
    return hits.numpy(), labels.numpy()


def _bayes_images(data: ImageData) -> int:
    return min(len(data.test), TEST_IMAGES, max(BAYES_LEAST, BAYES_PASSES // data.num_labels))
