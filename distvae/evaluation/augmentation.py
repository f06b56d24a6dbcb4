"""Whether generated images can stand in for real ones when a classifier is trained.

Legend: B batch, N images, C channels, H height, W width.
"""

from collections.abc import Iterator
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from distvae.blocks import joined
from distvae.data.batches import ResidentImages
from distvae.data.examples import domain_of_data
from distvae.data.store import ImageData
from distvae.domains import domain_of, in_unit_range, to_levels
from distvae.draws.order import permutation
from distvae.draws.philox import Stream
from distvae.evaluation.asked import asked_for
from distvae.evaluation.judge import JudgeNetwork, shrink
from distvae.evaluation.judge_training import train_network
from distvae.evaluation.passes import Advance, unwatched
from distvae.evaluation.uncertainty import estimate_metrics, mean_of
from distvae.labels import Labels

STEPS, BATCH = 150, 256
TEST_IMAGES = 10_000
"""At most, taken evenly."""
BLOCK = 250
"""Images together on a CPU."""


class LabelSampler(Protocol):
    """What is asked of a model; see :class:`distvae.models.ConditionalVAE`."""

    def sample(self, labels: Labels | None, n: int, seed: int) -> Tensor:
        """``n`` images of each label, ``[len(labels) * n, C, H, W]`` in [0, 1]."""


@torch.no_grad()
def augmentation_metrics(
    model: LabelSampler,
    data: ImageData,
    seed: int,
    real_per_label: int = 10,
    generated_per_label: int = 100,
    seeds: int = 3,
    advance: Advance = unwatched,
) -> Iterator[tuple[str, float]]:
    """Accuracy on real test images of a judge's network trained on real and generated images.

    It is trained for the same number of steps on a few real images, on these and generated ones,
    and on generated ones alone. The model itself has seen every training image with its label, so
    a gain says that what it generates carries them; it does not say that so few labels suffice.

    Args:
        model: in evaluation mode.
        data: labelled images; the model knows the same labels.
        seed: of all draws.
        real_per_label: training images of each label, fewer where there are no more.
        generated_per_label: images to generate of each label.
        seeds: how often all is repeated with other images and other first weights, at least 2.
        advance: told whenever a network is trained, three times ``seeds``.

    Yields:
        ``augmentation_real_images`` and ``augmentation_generated_images``, how many there are in
        all; ``augmentation_real_accuracy``, ``augmentation_both_accuracy``,
        ``augmentation_generated_accuracy``, and ``augmentation_gain``, by how much the second is
        above the first; each the mean of the repeats, with its ``_standard_error`` over them, the
        gain's that of differences within a repeat.
    """
    found = []
    for repeat in range(seed * seeds, (seed + 1) * seeds):
        generated = _generated(model, data, generated_per_label, repeat)
        device = generated.device
        real = _few(data, real_per_label, repeat, device)
        test = ResidentImages.from_split(data.test).to(device)
        accuracies = []
        small = domain_of(real.stored.shape[1:])
        for images in (real, _joined(real, generated), generated):
            network = train_network(images, small, data.num_labels, STEPS, BATCH, repeat)
            accuracies.append(_accuracy(network, test))
            advance(1)
        found.append([*accuracies, accuracies[1] - accuracies[0]])
    yield "augmentation_real_images", float(len(real))
    yield "augmentation_generated_images", float(len(generated))
    names = ("real_accuracy", "both_accuracy", "generated_accuracy", "gain")
    for name, values in zip(names, torch.tensor(found, dtype=torch.float64).T, strict=True):
        yield from estimate_metrics(f"augmentation_{name}", mean_of(values))


def _generated(model: LabelSampler, data: ImageData, each: int, seed: int) -> ResidentImages:
    count = data.num_labels
    parts = [
        _small_grey(model.sample(**asked_for(data, [label], each), seed=seed * count + label))
        for label in range(count)
    ]
    labels = torch.arange(count, device=parts[0].device).repeat_interleave(each)
    return ResidentImages(torch.cat(parts), labels, labels.device)


def _few(data: ImageData, each: int, seed: int, device: torch.device) -> ResidentImages:
    """So many training images of each label, drawn by the seed."""
    assert data.train.labels is not None
    order = permutation(len(data.train), seed, Stream.CHOICE)
    shuffled = data.train.labels[order]
    rows = [order[shuffled == label][:each] for label in range(data.num_labels)]
    train = ResidentImages.from_split(data.train)
    grey, labels, _ = train.gather(torch.from_numpy(np.concatenate(rows)))
    assert labels is not None
    small = _small_grey(domain_of_data(data).to_values(grey))
    return ResidentImages(small, labels, train.device).to(device)


def _joined(*sets: ResidentImages) -> ResidentImages:
    labels = torch.cat([images.labels for images in sets if images.labels is not None])
    return ResidentImages(torch.cat([images.stored for images in sets]), labels, sets[0].device)


def _small_grey(images: Tensor) -> Tensor:
    """Images in [0, 1] as the network takes them, uint8 ``[N, C, h, w]``."""
    return to_levels(shrink(images))


def _accuracy(network: JudgeNetwork, test: ResidentImages) -> float:
    rows = torch.arange(0, len(test), -(-len(test) // TEST_IMAGES)).to(test.stored.device)

    def hits(part: slice) -> Tensor:
        grey, labels, _ = test.gather(rows[part])
        assert labels is not None
        found: Tensor = network(shrink(in_unit_range(grey))).argmax(dim=1)
        return found == labels

    return float(joined(hits, len(rows), BLOCK, test.device).double().mean())
