import dataclasses
import math
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from torch import Tensor
from torchmetrics.image.inception import InceptionScore
from torchmetrics.image.kid import KernelInceptionDistance

from distvae.config import ModelConfig
from distvae.data.store import ImageData, Split
from distvae.domains import domain_of
from distvae.errors import DistvaeError
from distvae.evaluation.distances import (
    GROUPS,
    covered,
    distance_metrics,
    frechet_distance,
    groups,
    inception_scores,
    kernel_distances,
)
from distvae.evaluation.ensemble import Ensemble
from distvae.evaluation.features import JudgeFeatures
from distvae.models import build_model

NAMES = ("fid", "kid", "inception_score", "precision", "recall")


class Colours:
    """A cheap extractor: mean colours and their product."""

    suffix = "_colours"

    def features(self, images: Tensor) -> Tensor:
        return images.mean((2, 3))

    def logits(self, features: Tensor) -> Tensor:
        return 20.0 * features


class Replay:
    """Gives images of a split back, each label in the split's order."""

    def __init__(self, split: Split, conditional: bool = True) -> None:
        self.domain = domain_of(split.images.shape[1:])
        self.images = torch.from_numpy(split.images.copy()).float() / 255
        self.labels = torch.from_numpy(split.labels)
        self.conditional = conditional
        self.asked: list[int] | None = None
        self.seed = -1

    def sample_batches(
        self, labels: Sequence[int | str] | None, n: int, seed: int
    ) -> Iterator[Tensor]:
        self.seed = seed
        if labels is None:
            yield self.images[:n]
            return
        self.asked = [int(label) for label in labels]
        places = [(self.labels == label).nonzero().flatten().tolist() for label in range(3)]
        rows = [places[label].pop(0) for label in self.asked]
        yield from torch.split(self.images[rows], 100)


def normal(count: int, features: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, features, generator=generator, dtype=torch.float64)


def test_frechet_distance_is_the_closed_form() -> None:
    found, real = normal(300, 5, 1) @ normal(5, 5, 2) + 0.5, normal(200, 5, 3) @ normal(5, 5, 4)
    one, other = np.cov(found.numpy().T), np.cov(real.numpy().T)
    root = sqrtm(one @ other).real
    apart = (found.mean(0) - real.mean(0)).square().sum().item()
    expected = apart + np.trace(one + other - 2 * root)
    assert frechet_distance(found, real) == pytest.approx(expected, rel=1e-9)
    assert frechet_distance(real, real) == pytest.approx(0.0, abs=1e-9)


def test_errors_are_the_spread_of_repeated_measurements() -> None:
    class Given(Replay):
        """Draws anew, darker than the test images."""

        def sample_batches(
            self, labels: Sequence[int | str] | None, n: int, seed: int
        ) -> Iterator[Tensor]:
            yield 0.9 * torch.from_numpy(draw(n, seed)).float() / 255

    def draw(count: int, seed: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
        generator = np.random.default_rng(seed)
        return generator.integers(0, 255, (count, 3, 1, 1)).astype(np.uint8)

    labels = np.zeros(300, np.int64)
    scores = []
    for seed in range(0, 60, 3):
        splits = [Split.of_images(draw(300, seed + 1 + kind), labels) for kind in range(2)]
        data = ImageData("d", "d", "0", splits[0], splits[1], "own", ("a",))
        model = Given(splits[1], conditional=False)
        scores.append(dict(distance_metrics(model, data, [Colours()], seed)))
    for name in ("fid", "kid", "inception_score"):
        values, errors = (
            torch.tensor([score[f"{name}_colours{end}"] for score in scores])
            for end in ("", "_standard_error")
        )
        assert 0.6 < (errors.mean() / values.std()).item() < 1.6


def test_kid_is_the_unbiased_discrepancy_of_each_part() -> None:
    found, real = normal(40, 3, 1), normal(40, 3, 2) + 0.3

    def kernel(x: Tensor, y: Tensor) -> float:
        return float((x @ y / 3 + 1) ** 3)

    for rows, value in zip(groups(40, 5), kernel_distances(found, real, 5), strict=True):
        pairs = [(int(i), int(j)) for i in rows for j in rows if i != j]
        terms = [
            kernel(found[i], found[j]) + kernel(real[i], real[j]) - 2 * kernel(found[i], real[j])
            for i, j in pairs
        ]
        assert value == pytest.approx(sum(terms) / len(pairs))


@pytest.mark.filterwarnings("ignore:Metric `Kernel Inception Distance` will save all")
def test_kid_is_that_of_the_library_but_for_pairs_in_one_place() -> None:
    found, real = normal(200, 4, 1), normal(200, 4, 2) + 0.3
    for rows, value in zip(groups(200, 0), kernel_distances(found, real, 0), strict=True):
        metric = KernelInceptionDistance(torch.nn.Identity(), subsets=1, subset_size=20)
        metric.set_dtype(torch.float64)
        metric.update(real[rows], real=True)
        metric.update(found[rows], real=False)
        crossed = (found[rows] @ real[rows].T / 4 + 1) ** 3
        apart = (crossed.sum() - crossed.trace()) / (20 * 19) - crossed.mean()
        assert value == pytest.approx(float(metric.compute()[0] - 2 * apart))


def test_kid_of_like_sets_with_the_same_labels_is_zero_on_average() -> None:
    centres = 4.0 * torch.eye(4, dtype=torch.float64)[torch.arange(80) % 4]
    values = torch.tensor(
        [
            kernel_distances(centres + normal(80, 4, seed), centres + normal(80, 4, -seed), seed)
            for seed in range(1, 61)
        ]
    ).mean(1)
    assert abs(values.mean()) < 4.0 * values.std() / math.sqrt(len(values))


@pytest.mark.filterwarnings("ignore:Metric `InceptionScore` will save all")
@pytest.mark.filterwarnings(r"ignore:std\(\). degrees of freedom is <= 0")
def test_inception_score_is_that_of_the_library() -> None:
    logits = 3.0 * normal(95, 6, 1)
    for rows, score in zip(groups(95, 2), inception_scores(logits, 2), strict=True):
        metric = InceptionScore(torch.nn.Identity(), splits=1)
        metric.update(logits[rows])
        assert score == pytest.approx(metric.compute()[0].item())


def test_inception_score_of_sure_and_even_classes_is_their_number() -> None:
    logits = 100.0 * torch.eye(2).repeat_interleave(GROUPS * 500, 0)
    assert inception_scores(logits, 0) == pytest.approx([2.0] * GROUPS, abs=0.02)
    assert inception_scores(logits[:100], 0) == pytest.approx([1.0] * GROUPS)


def test_covers_what_lies_within_the_third_neighbour() -> None:
    centres = torch.tensor([0.0, 1.0, 2.0, 3.0, 50.0, 51.0, 52.0, 53.0]).double()[:, None]
    points = torch.tensor([-3.0, -3.1, 6.0, 6.1, 47.0, 25.0, 1.5]).double()[:, None]
    inside = [True, False, True, False, True, False, True]
    assert covered(points, centres).tolist() == inside
    assert covered(points, centres, neighbours=1)[[0, 6]].tolist() == [False, True]


def test_covers_alike_in_any_number_of_parts() -> None:
    points, centres = normal(150, 6, 1), 0.7 * normal(170, 6, 2)
    whole = covered(points, centres)
    assert 0 < whole.sum() < 150
    for values in (1, 170 * 7, 170 * 150):
        assert torch.equal(covered(points, centres, values=values), whole)


def test_parts_are_disjoint_and_whole() -> None:
    parts = groups(47, 3)
    assert sorted(torch.cat(parts).tolist()) == list(range(47))
    assert {len(part) for part in parts} == {4, 5}
    assert torch.equal(groups(47, 3)[0], parts[0])
    assert not torch.equal(groups(47, 4)[0], parts[0])


def test_training_images_score_as_real_ones(patterns: ImageData) -> None:
    told: list[int] = []
    model = Replay(patterns.train)
    scores = dict(distance_metrics(model, patterns, [Colours()], 4, advance=told.append))
    assert model.asked == patterns.test.labels.tolist()  # type: ignore[union-attr]
    assert model.seed == 4
    assert sum(told) == 3 * 240
    keys = [f"{name}_colours{end}" for name in NAMES for end in ("", "_standard_error")]
    assert list(scores)[: len(keys)] == keys
    assert 0.0 < scores["fid_colours"] < 0.001
    # the same number of each label, though other images
    assert scores["fid_colours"] == pytest.approx(scores["fid_colours_real"], abs=0.0005)
    assert dict(distance_metrics(Replay(patterns.train), patterns, [Colours()], 4)) == scores


@pytest.mark.slow
def test_test_images_are_at_no_distance(patterns: ImageData, judges: Ensemble) -> None:
    scores = dict(
        distance_metrics(
            Replay(patterns.test), patterns, [JudgeFeatures(judge) for judge in judges.members]
        )
    )
    assert scores["fid_judge"] == pytest.approx(0.0, abs=1e-4)
    assert scores["precision_judge"] == scores["recall_judge"] == 1.0
    assert scores["precision_judge_standard_error"] < 0.01
    assert scores["inception_score_judge"] > 2.0
    assert scores["fid_judge_real"] > 0.0
    # 80 images of a label are too few for 64 features
    assert not any("/" in name or "spread" in name for name in scores)


def test_finds_the_label_that_is_served_worst(patterns: ImageData) -> None:
    model = Replay(patterns.test)
    model.images[model.labels == 1] *= 0.5
    scores = dict(distance_metrics(model, patterns, [Colours()]))
    by_label = {name: scores[f"fid_colours/{name}"] for name in patterns.label_names}
    assert by_label["bars"] > 0.01
    assert by_label["stripes"] == pytest.approx(0.0, abs=1e-9)
    assert by_label["dots"] == pytest.approx(0.0, abs=1e-9)
    error = scores["fid_colours/bars_standard_error"]
    assert scores["fid_colours_spread"] == pytest.approx(by_label["bars"], abs=0.1 * error)
    assert scores["fid_colours_spread_standard_error"] == pytest.approx(error, rel=0.05)
    assert scores["recall_colours/stripes"] == 1.0
    assert scores["precision_colours/bars"] < 0.7
    assert scores["fid_colours_real/bars"] < 0.01


def test_takes_equally_many_of_labels_and_leaves_rare_ones_out(patterns: ImageData) -> None:
    assert patterns.test.labels is not None
    numbers = np.arange(240)
    keep = np.where(patterns.test.labels == 2, numbers < 30, True)
    keep &= np.where(patterns.test.labels == 1, numbers < 150, True)
    split = Split.of_images(patterns.test.images[keep], patterns.test.labels[keep])
    uneven = dataclasses.replace(patterns, test=split)
    model = Replay(split)
    scores = dict(distance_metrics(model, uneven, [Colours()]))
    assert model.asked == split.labels.tolist()  # type: ignore[union-attr]
    assert {name for name in scores if name.startswith("fid_colours/")} == {
        f"fid_colours/{name}{end}"
        for name in ("stripes", "bars")
        for end in ("", "_standard_error")
    }
    share = scores["precision_colours_real/stripes"] * 50
    assert share == pytest.approx(round(share))


@pytest.mark.parametrize("kind", ["vae", "cvae"])
def test_measures_models_of_both_kinds(kind: str, patterns: ImageData) -> None:
    config = ModelConfig(model=kind, prior="normal", latent_dim=2, hidden=(4,))
    torch.manual_seed(0)
    model = build_model(config, patterns.image_shape, patterns.label_names).eval()
    scores = dict(distance_metrics(model, patterns, [Colours()], count=100))
    assert all(math.isfinite(value) for value in scores.values())
    assert scores["fid_colours"] > scores["fid_colours_real"]
    assert scores["precision_colours"] < scores["precision_colours_real"]
    # 33 or 34 of a label, which are enough for three features
    assert ("fid_colours/dots" in scores) == (kind == "cvae")


def test_measures_without_labels(patterns: ImageData) -> None:
    train, test = (Split.of_images(split.images, None) for split in (patterns.train, patterns.test))
    bare = dataclasses.replace(patterns, label_names=(), train=train, test=test)
    model = Replay(patterns.train, conditional=False)
    scores = dict(distance_metrics(model, bare, [Colours()]))
    assert model.asked is None
    assert 0.0 < scores["fid_colours"] < 0.001


def test_refuses_a_handful_of_images(patterns: ImageData) -> None:
    assert patterns.test.labels is not None
    few = Split.of_images(patterns.test.images[:19], patterns.test.labels[:19])
    with pytest.raises(DistvaeError, match=r"19 test images are too few.*at least 20"):
        next(distance_metrics(Replay(few), dataclasses.replace(patterns, test=few), [Colours()]))


def test_the_real_ones_have_the_test_splits_labels() -> None:
    def split(counts: Sequence[int]) -> Split:
        labels = np.repeat(np.arange(3), counts)
        grey = np.uint8(100) * labels.astype(np.uint8)
        return Split.of_images(
            np.broadcast_to(grey[:, None, None, None], (len(grey), 3, 4, 4)).copy(), labels
        )

    test = split([30, 60, 10])
    data = ImageData("d", "d", "0", split([200, 100, 100]), test, "own", ("a", "b", "c"))
    scores = dict(distance_metrics(Replay(test), data, [Colours()]))
    assert scores["fid_colours_real"] == pytest.approx(0.0, abs=1e-6)
    assert scores["kid_colours_real"] == pytest.approx(0.0, abs=1e-9)
    lacking = dataclasses.replace(data, train=split([200, 10, 100]))
    scores = dict(distance_metrics(Replay(test), lacking, [Colours()]))
    assert scores["fid_colours_real"] > 0.01
