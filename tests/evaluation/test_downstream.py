"""What latents tell of labels, against models and points of which that is known."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.metrics import adjusted_rand_score
from torch import Tensor, nn
from torch.nn import functional

from distvae.conditions import Context
from distvae.config import Binarization, ModelConfig
from distvae.data.store import ImageData, Split
from distvae.domains import Images
from distvae.errors import DistvaeError
from distvae.evaluation.classifiers import linear_probe, nearest_vote
from distvae.evaluation.downstream import downstream_metrics, passes
from distvae.evaluation.probes import (
    accuracy_metrics,
    cluster_metrics,
    principal_components,
)
from distvae.models import VAE, build_model
from tests.spaces import gaussian

NAMES = ("stripes", "bars", "dots")
Code = Callable[[Tensor, Tensor | None], Tensor]


def kinds() -> Tensor:
    """What is lit in the three kinds of patterns, ``[3, 1, 8, 8]``."""
    row, column = torch.arange(8)[:, None] // 2, torch.arange(8)[None] // 2
    shapes = [(row % 2).expand(8, 8), (column % 2).expand(8, 8), (row + column) % 2]
    return torch.stack(shapes).float()[:, None]


def by_pattern(images: Tensor, labels: Tensor | None) -> Tensor:
    """Three numbers that tell the pattern."""
    return torch.einsum("bchw,lkhw->bl", images, kinds() - 0.5)


def by_colour(images: Tensor, labels: Tensor | None) -> Tensor:
    """Three numbers that say nothing of it."""
    return images.mean((2, 3))


def by_label(images: Tensor, labels: Tensor | None) -> Tensor:
    """What the encoder was told."""
    assert labels is not None
    return 5.0 * functional.one_hot(labels, 3).float()


class Encoder(nn.Module):
    def __init__(self, code: Code) -> None:
        super().__init__()
        self.code = code

    def forward(self, images: Tensor, context: Context | None) -> tuple[Tensor]:
        return (self.code(images, None if context is None else context.label),)


class Decoder(nn.Module):
    """Draws a pattern for each label, whatever the latents."""

    def __init__(self, pattern: Tensor) -> None:
        super().__init__()
        self.pattern = pattern

    def forward(self, z: Tensor, context: Context | None) -> Tensor:
        assert context is not None
        lit = kinds()[self.pattern[context.label]].expand(-1, 3, -1, -1)
        return 4.0 * lit - 2.0


def model_of(code: Code, prior: str = "", pattern: tuple[int, int, int] = (0, 1, 2)) -> VAE:
    """A model whose posterior has the mean ``code`` and the variance 1."""
    config = ModelConfig(network="mlp", hidden=(8,), latent_dim=3)
    chosen: dict[str, Any] = {"model": "cvae" if prior else "vae", "prior": prior or "normal"}
    config = dataclasses.replace(config, **chosen)
    model = build_model(config, (3, 8, 8), NAMES).eval()
    model.add_module("encoder", Encoder(code))
    model.add_module("decoder", Decoder(torch.tensor(pattern)))
    gaussian(model).to_posterior = nn.Linear(3, 6, bias=False)
    gaussian(model).to_posterior.weight.data = torch.eye(6, 3)
    return model


def measured(
    model: VAE, data: ImageData, binarize: Binarization = "none", seed: int = 0
) -> dict[str, float]:
    model.domain = Images(model.image_shape, binarize)
    return dict(downstream_metrics(model, data, seed))


def test_means_that_hold_the_label(patterns: ImageData) -> None:
    found = measured(model_of(by_pattern), patterns)
    right = ("linear_probe_accuracy", "knn_accuracy", "ari", "nmi", "linear_probe_pixels_accuracy")
    assert {name: found[name] for name in right} == dict.fromkeys(right, pytest.approx(1.0))
    for name in NAMES:
        assert found[f"linear_probe_accuracy/{name}"] == found[f"knn_accuracy/{name}"] == 1.0
    assert found["linear_probe_accuracy_spread"] == found["knn_accuracy_spread"] == 0.0
    assert not [name for name in found if name.startswith(("bayes", "label_leakage"))]
    figures = {name for name in found if not name.endswith("_standard_error")}
    assert {f"{name}_standard_error" for name in figures} | figures == found.keys()


def test_means_that_do_not_hold_it_are_no_better_than_chance(patterns: ImageData) -> None:
    found = measured(model_of(by_colour), patterns)
    for name in ("linear_probe_accuracy", "knn_accuracy"):
        assert found[name] == pytest.approx(1 / 3, abs=4 * found[f"{name}_standard_error"])
    assert found["ari"] == pytest.approx(0.0, abs=0.03)
    assert found["nmi"] == pytest.approx(0.0, abs=0.03)
    assert found["linear_probe_pixels_accuracy"] == 1.0  # the images have what the means lack
    assert found["linear_probe_pca_accuracy"] == found["knn_pca_accuracy"] == 1.0
    assert 0.0 < found["pixels_ari"] <= 1.0 >= found["pixels_nmi"] > 0.0


def test_a_collapsed_posterior_is_measured_without_a_warning(patterns: ImageData) -> None:
    found = measured(model_of(lambda images, labels: torch.zeros(len(images), 3)), patterns)
    assert found["linear_probe_accuracy"] == found["knn_accuracy"] == pytest.approx(1 / 3)
    assert found["linear_probe_accuracy_spread"] == pytest.approx(1.0, abs=0.02)  # one for all
    assert found["ari"] == found["nmi"] == 0.0


@pytest.mark.parametrize(("pattern", "expected"), [((0, 1, 2), 1.0), ((1, 2, 0), 0.0)])
def test_bayes_takes_the_label_that_explains_the_image(
    pattern: tuple[int, int, int], expected: float, patterns: ImageData
) -> None:
    found = measured(model_of(by_label, "normal", pattern), patterns)
    assert found["bayes_accuracy"] == expected
    assert found["bayes_accuracy_standard_error"] == pytest.approx(0.5 / 240)
    assert not [name for name in found if name.startswith(("linear_probe_acc", "knn_acc", "ari"))]


def test_bayes_counts_the_rate(patterns: ImageData) -> None:
    def cheap_for_bars(images: Tensor, labels: Tensor | None) -> Tensor:
        assert labels is not None
        return (labels != 1).float()[:, None].expand(-1, 3)

    found = measured(model_of(cheap_for_bars, "normal", (0, 0, 0)), patterns)
    assert [found[f"bayes_accuracy/{name}"] for name in NAMES] == [0.0, 1.0, 0.0]
    assert found["bayes_accuracy_spread"] == pytest.approx(1.0, abs=0.02)


def test_bayes_counts_how_frequent_labels_are(patterns: ImageData) -> None:
    images, labels = patterns.train.images, patterns.train.labels
    assert labels is not None
    most = np.flatnonzero((labels == 2) | (np.arange(len(labels)) < 150))
    data = dataclasses.replace(patterns, train=Split.of_images(images[most], labels[most]))
    found = measured(model_of(by_colour, "normal", (0, 0, 0)), data)
    assert [found[f"bayes_accuracy/{name}"] for name in NAMES] == [0.0, 0.0, 1.0]


def test_latents_leak_the_label_unless_the_prior_has_them_there(patterns: ImageData) -> None:
    leaking = measured(model_of(by_label, "normal"), patterns)
    assert leaking["label_leakage"] == 1.0
    assert leaking["label_leakage_chance"] == pytest.approx(1 / 3)
    placed = model_of(by_label, "label")
    gaussian(placed).prior.means.data = 5.0 * torch.eye(3)
    assert measured(placed, patterns)["label_leakage"] == pytest.approx(1 / 3)
    tight = measured(model_of(by_colour, "normal"), patterns)
    assert tight["label_leakage"] == pytest.approx(
        1 / 3, abs=4 * tight["label_leakage_standard_error"]
    )
    assert "label_leakage" not in measured(model_of(by_label, "mixture"), patterns)


@pytest.mark.parametrize("prior", ["", "label"])
def test_a_seed_decides_all_and_progress_is_told(prior: str, patterns: ImageData) -> None:
    model, counts = model_of(by_colour, prior), list[int]()
    model.domain = Images(model.image_shape, "dynamic")
    first = dict(downstream_metrics(model, patterns, 3, counts.append))
    assert sum(counts) == passes(model, patterns)
    assert measured(model, patterns, "dynamic", 3) == first
    assert measured(model, patterns, "dynamic", 4) != first


@pytest.mark.parametrize("binarize", ["none", "threshold", "dynamic"])
def test_the_encoder_sees_what_it_was_trained_on(
    binarize: Binarization, patterns: ImageData
) -> None:
    seen: list[Tensor] = []

    def watched(images: Tensor, labels: Tensor | None) -> Tensor:
        seen.append(images)
        return by_pattern(images, labels)

    measured(model_of(watched), patterns, binarize)
    images = torch.cat(seen)
    assert images.shape == (len(patterns.train) + len(patterns.test), 3, 8, 8)
    assert torch.equal(images, images.round()) == (binarize != "none")


def test_many_images_are_sampled(patterns: ImageData, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, most in (("TRAIN", 90), ("TEST", 60)):
        monkeypatch.setattr(f"distvae.evaluation.downstream.{name}_IMAGES", most)
    model, counts = model_of(by_pattern), list[int]()
    found = dict(downstream_metrics(model, patterns, 0, counts.append))
    assert sum(counts) == passes(model, patterns) == 150
    assert found["linear_probe_accuracy"] == 1.0


@pytest.mark.parametrize("labels", [None, np.zeros(300, np.int64)], ids=["none", "one"])
def test_refuses_images_without_two_labels(
    labels: np.ndarray[tuple[int], np.dtype[np.int64]] | None, patterns: ImageData
) -> None:
    data = dataclasses.replace(patterns, train=Split.of_images(patterns.train.images, labels))
    with pytest.raises(DistvaeError, match=r"nothing to tell apart in patterns.*two labels"):
        measured(model_of(by_pattern), data)


def blobs(
    apart: float, count: int = 400
) -> tuple[
    np.ndarray[tuple[int, int], np.dtype[np.float64]], np.ndarray[tuple[int], np.dtype[np.int64]]
]:
    """Four Gaussians of variance 1 in five dimensions."""
    generator = np.random.default_rng(0)
    labels = np.arange(count) % 4
    return generator.normal(size=(count, 5)) + apart * np.eye(4, 5)[labels], labels


def test_a_linear_probe_is_the_best_linear_rule_and_a_vote_need_not_be_linear() -> None:
    points, labels = blobs(2.0, 8000)
    scaled = points * [1.0, 100.0, 0.01, 1.0, 1e-6] + 7.0
    found = (linear_probe(scaled[:4000], labels[:4000], scaled[4000:]) == labels[4000:]).mean()
    best = (points[4000:, :4].argmax(1) == labels[4000:]).mean()  # Bayes' rule of these Gaussians
    assert found == pytest.approx(best, abs=0.01)
    ring = np.abs(points[:, :2]).max(1) > 1.5
    voted = nearest_vote(points[:4000, :2], ring[:4000] * 1, points[4000:, :2]) == ring[4000:]
    probed = linear_probe(points[:4000, :2], ring[:4000] * 1, points[4000:, :2]) == ring[4000:]
    assert voted.mean() > 0.95 > probed.mean()


def test_clusters_apart_are_the_labels_and_noise_is_not() -> None:
    points, labels = blobs(30.0)
    apart = dict(cluster_metrics(points, labels, 4, seed=0))
    assert apart == {
        "ari": 1.0,
        "ari_standard_error": 0.0,
        "nmi": pytest.approx(1.0),
        "nmi_standard_error": pytest.approx(0.0, abs=1e-12),
    }
    noise = dict(cluster_metrics(points, np.random.default_rng(1).permutation(labels), 4, seed=0))
    assert noise["ari"] == pytest.approx(0.0, abs=0.02)
    assert noise["nmi"] == pytest.approx(0.0, abs=0.03)
    assert dict(cluster_metrics(points[:3], labels[:3], 4, seed=0)).keys() == apart.keys()


def test_the_error_of_clusters_is_that_of_other_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("distvae.evaluation.probes.CLUSTERINGS", 100)
    found = dict(cluster_metrics(*blobs(4.0), 4, seed=0))
    everything, labels = blobs(4.0, 12_000)
    kmeans = KMeans(4, n_init=5, random_state=0)
    parts = [
        adjusted_rand_score(labels[rows], kmeans.fit_predict(everything[rows]))
        for rows in np.arange(12_000).reshape(30, 400)
    ]
    assert found["ari"] == pytest.approx(np.mean(parts), abs=4 * float(np.std(parts)))
    assert found["ari_standard_error"] == pytest.approx(float(np.std(parts)), rel=0.4)


def test_errors_of_an_accuracy_are_those_of_resampled_images() -> None:
    generator = np.random.default_rng(0)
    labels = np.repeat([0, 1, 3], [200, 300, 500])
    hits = generator.random(1000) < np.array([0.9, 0.6, 0.0, 0.8])[labels]
    names = ("oak", "fir", "elm", "ash")
    found = dict(accuracy_metrics("it", hits, labels, names, seed=0))
    shares = {name: hits[labels == number] for number, name in enumerate(names) if number != 2}
    assert found["it"] == hits.mean()
    assert found["it_standard_error"] == pytest.approx(hits.std() / math.sqrt(1000), rel=2e-3)
    for name, own in shares.items():
        assert found[f"it/{name}"] == own.mean()
        binomial = own.std() / math.sqrt(len(own))
        assert found[f"it/{name}_standard_error"] == pytest.approx(binomial, rel=0.01)
    assert "it/elm" not in found
    # oak and fir are too far apart for chance to have chosen them
    gap = shares["oak"].mean() - shares["fir"].mean()
    assert found["it_spread"] == pytest.approx(gap, abs=0.003)
    drawn = [
        np.ptp([generator.choice(own, len(own)).mean() for own in shares.values()])
        for _ in range(1000)
    ]
    assert found["it_spread_standard_error"] == pytest.approx(np.std(drawn), rel=0.15)


@pytest.mark.parametrize("shape", [(60, 9), (5, 9)])
def test_principal_components_are_those_of_scikit_learn(shape: tuple[int, int]) -> None:
    random = np.random.default_rng(3)
    train, test = random.normal(size=shape) * np.arange(1, 10), random.normal(size=(20, 9))
    found = principal_components(train, test, 4)
    pca = PCA(4).fit(train)
    for own, theirs in zip(found, (pca.transform(train), pca.transform(test)), strict=True):
        np.testing.assert_allclose(np.abs(own), np.abs(theirs), atol=1e-9)
