"""A classifier trained on generated images, which are good, bad or wrong by construction."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from distvae.data.store import ImageData, Split
from distvae.evaluation.augmentation import augmentation_metrics

NAMES = ("real_accuracy", "both_accuracy", "generated_accuracy", "gain")


class Replay:
    """Gives real training images back.

    Args:
        data: where they are from.
        shift: how far the label they are given out for is from their own.
    """

    def __init__(self, data: ImageData, shift: int = 0) -> None:
        assert data.train.labels is not None
        self.images = torch.from_numpy(data.train.images.copy()).float() / 255
        self.labels = torch.from_numpy(data.train.labels)
        self.shift = shift
        self.asked: list[tuple[int, int, int]] = []

    def sample(self, labels: Sequence[int | str] | None, n: int, seed: int) -> Tensor:
        assert labels is not None
        (label,) = map(int, labels)
        self.asked.append((label, n, seed))
        own = self.images[self.labels == (label + self.shift) % 3]
        return own[torch.randperm(len(own), generator=torch.Generator().manual_seed(seed))[:n]]


def blurred(split: Split) -> Split:
    """The same under so much noise that a few images do not suffice to learn from."""
    noise = np.random.default_rng(len(split)).normal(0, 250, split.images.shape)
    return Split.of_images((split.images + noise).clip(0, 255).astype(np.uint8), split.labels)


@pytest.fixture(scope="module")
def noisy(patterns: ImageData) -> ImageData:
    return dataclasses.replace(patterns, train=blurred(patterns.train), test=blurred(patterns.test))


@pytest.fixture(autouse=True)
def _few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("distvae.evaluation.augmentation.STEPS", 30)


def measured(
    model: Replay,
    data: ImageData,
    seed: int = 0,
    seeds: int = 2,
    real: int = 2,
    generated: int = 80,
) -> dict[str, float]:
    found = dict(augmentation_metrics(model, data, seed, real, generated, seeds))
    return {name.removeprefix("augmentation_"): value for name, value in found.items()}


@pytest.mark.slow
def test_more_images_as_good_as_real_ones_are_a_gain(noisy: ImageData) -> None:
    found = measured(Replay(noisy), noisy, seeds=3)
    assert (found["real_images"], found["generated_images"]) == (6.0, 240.0)
    assert found["gain"] > 4 * found["gain_standard_error"] > 0.0
    assert found["gain"] > 0.1
    assert found["generated_accuracy"] > found["real_accuracy"] + 0.1


def test_images_of_other_labels_than_they_are_given_out_for_are_a_loss(noisy: ImageData) -> None:
    found = measured(Replay(noisy, shift=1), noisy, real=20)
    assert found["generated_accuracy"] < 0.1
    assert found["gain"] < -0.3


@pytest.mark.slow
def test_errors_are_those_of_the_mean_of_repeats(noisy: ImageData) -> None:
    two, three = (measured(Replay(noisy), noisy, seeds=seeds, generated=20) for seeds in (2, 3))
    repeats = {}
    for name in NAMES:
        # of two values the error of the mean is half their distance; a third follows from the means
        first, second = (two[name] + sign * two[f"{name}_standard_error"] for sign in (1, -1))
        repeats[name] = [first, second, 3 * three[name] - first - second]
        error = np.std(repeats[name], ddof=1) / math.sqrt(3)
        assert three[f"{name}_standard_error"] == pytest.approx(error, abs=1e-9)
    assert three["gain"] == pytest.approx(three["both_accuracy"] - three["real_accuracy"])
    assert three["both_accuracy"] != three["generated_accuracy"]


@pytest.mark.slow
def test_a_seed_decides_all(noisy: ImageData) -> None:
    torch.manual_seed(7)
    before = torch.get_rng_state()
    models = [Replay(noisy) for _ in range(3)]
    found = [measured(model, noisy, seed) for model, seed in zip(models, (5, 5, 6), strict=True)]
    assert torch.equal(torch.get_rng_state(), before)
    assert found[0] == found[1] != found[2]
    assert models[0].asked == models[1].asked
    asked = models[0].asked + models[2].asked
    assert sorted((label, n) for label, n, _ in asked) == sorted(
        (label, 80) for label in range(3) for _ in range(4)
    )
    assert len({seed for _, _, seed in asked}) == len(asked)


def test_every_training_is_told_and_labels_with_few_images_give_what_they_have(
    noisy: ImageData,
) -> None:
    labels, images = noisy.train.labels, noisy.train.images
    assert labels is not None
    keep = (labels != 1) | (np.arange(len(labels)) < 12)  # four images of bars
    data = dataclasses.replace(noisy, train=Split.of_images(images[keep], labels[keep]))
    counts: list[int] = []
    found = dict(augmentation_metrics(Replay(noisy), data, 0, 10, 5, 2, counts.append))
    assert counts == [1] * 6
    assert found["augmentation_real_images"] == 24.0
    assert found["augmentation_generated_images"] == 15.0


@pytest.mark.slow
def test_large_images_are_shrunk(patterns: ImageData, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("distvae.evaluation.augmentation.STEPS", 12)

    def large(split: Split) -> Split:
        return Split.of_images(split.images.repeat(5, axis=2).repeat(5, axis=3), split.labels)

    data = dataclasses.replace(patterns, train=large(patterns.train), test=large(patterns.test))
    found = measured(Replay(data), data, real=20, generated=20)
    assert found["generated_accuracy"] > 0.9
