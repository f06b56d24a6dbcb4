import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from distvae.attributes import label_attribute
from distvae.conditions import Conditioner, Context, ContextShape
from distvae.config import Binarization, ModelConfig
from distvae.data.store import ImageData
from distvae.domains import Images
from distvae.evaluation.diversity import spread
from distvae.evaluation.ensemble import Ensemble
from distvae.evaluation.generation import generation_metrics
from distvae.latents import Latents
from distvae.latents.gaussian import GaussianSpace
from distvae.priors.label import LabelPrior

EACH = 80


class Replay:
    """Gives real test images of each label back; its latents are the label, and it obeys the label.

    Args:
        data: where the images are from.
        wrong: for each label, the share of images that are of the next label.
        different: how many different images a label has.
        obeys: whether the label decides in decoding, or the latents.
        binarize: how its inputs are made.
        shift: the prior of label y is centred ``shift`` further along latent y.
    """

    def __init__(
        self,
        data: ImageData,
        wrong: Sequence[float] = (0.0, 0.0, 0.0),
        different: int = EACH,
        obeys: bool = True,
        shift: float = 0.0,
        binarize: Binarization = "none",
    ) -> None:
        images = torch.from_numpy(data.test.images.copy()).float() / 255
        labels = torch.from_numpy(data.test.labels)
        self.by_label = torch.stack([images[labels == label][:EACH] for label in range(3)])
        self.domain = Images((3, 8, 8), binarize)
        self.conditional = True
        self.wrong, self.different, self.obeys = wrong, different, obeys
        config, given = ModelConfig(latent_dim=3), ContextShape(3)
        self.conditioner = Conditioner(label_attribute(data.label_names))
        prior = LabelPrior(config, given)
        prior.means.data = shift * torch.eye(3)
        self.latents = GaussianSpace(config, ((4,),), given, prior)
        self.encoded: list[Tensor] = []

    def sample(self, labels: Sequence[int | str] | None, n: int, seed: int) -> Tensor:
        assert labels is not None
        label = int(labels[0])
        images = self.by_label[label][torch.arange(n) % self.different]
        count = round(self.wrong[label] * n)
        images[:count] = self.by_label[(label + 1) % 3][:count]
        return images

    def drawn(self, inputs: Tensor, context: Context | None, noise: Tensor) -> Latents:
        assert context is not None
        self.encoded.append(inputs)
        return (10.0 * functional.one_hot(context.label, 3) + 0.01 * noise,)

    def render(self, latents: Latents, context: Context | None) -> Tensor:
        assert context is not None
        return self.by_label[context.label if self.obeys else latents[0].argmax(dim=1), 0]


def test_real_images_score_as_real_ones(patterns: ImageData, judges: Ensemble) -> None:
    scores = dict(generation_metrics(Replay(patterns), patterns, judges, per_label=EACH))
    errors = {name: scores.pop(name) for name in list(scores) if name.endswith("_standard_error")}
    between = {name: scores.pop(name) for name in list(scores) if name.endswith("_between_judges")}
    certainty = scores.pop("judge_accuracy_worst_label_certainty")
    assert 0.2 < certainty < 0.5  # of three alike
    assert set(errors) == {f"{name}_standard_error" for name in scores}
    assert all(0.0 < error < 0.1 for error in errors.values())
    single = {name for name in scores if "/" not in name and not name.endswith(("label", "spread"))}
    assert between.keys() == {f"{name}_between_judges" for name in single}
    assert between["judge_accuracy_between_judges"] == 0.0
    assert scores == {
        "judge_accuracy": 1.0,
        "judge_accuracy_worst_label": 1.0,
        "judge_accuracy_spread": 0.0,
        "judge_accuracy/stripes": 1.0,
        "judge_accuracy/bars": 1.0,
        "judge_accuracy/dots": 1.0,
        "judge_test_accuracy": 1.0,
        "diversity": pytest.approx(1.0),
        "diversity_pixels": pytest.approx(1.0),
        "diversity/stripes": pytest.approx(1.0),
        "diversity/bars": pytest.approx(1.0),
        "diversity/dots": pytest.approx(1.0),
        "diversity_spread": pytest.approx(0.0, abs=1e-6),
        "label_adherence_swapped_noise": 1.0,
        "label_adherence_swapped_z": 1.0,
    }


def test_one_image_for_each_label_is_right_but_not_diverse(
    patterns: ImageData, judges: Ensemble
) -> None:
    model = Replay(patterns, different=1)
    scores = dict(generation_metrics(model, patterns, judges, per_label=EACH))
    assert scores["judge_accuracy"] == 1.0
    assert scores["diversity"] == pytest.approx(0.0, abs=1e-5)
    assert scores["diversity_pixels"] == 0.0


def test_two_images_in_turn_are_half_as_diverse_as_their_distance(
    patterns: ImageData, judges: Ensemble
) -> None:
    model = Replay(patterns, different=2)
    scores = dict(generation_metrics(model, patterns, judges, per_label=EACH))
    expected = []
    for images in model.by_label:
        points = images.flatten(1)
        distances = torch.linalg.vector_norm(points[:, None] - points, dim=2)
        two = distances[0, 1] * (EACH / 2) ** 2 / (EACH * (EACH - 1) / 2)
        expected.append((two / (distances.sum() / (EACH * (EACH - 1)))).item())
    assert scores["diversity_pixels"] == pytest.approx(sum(expected) / 3, rel=1e-4)


def test_wrong_images_cost_accuracy_and_do_not_pass_for_diversity(
    patterns: ImageData, judges: Ensemble
) -> None:
    model = Replay(patterns, wrong=(0.0, 0.5, 1.0), different=1)
    scores = dict(generation_metrics(model, patterns, judges, per_label=EACH))
    assert scores["judge_accuracy"] == 0.5
    assert scores["judge_accuracy_worst_label"] == pytest.approx(0.0, abs=0.01)
    assert scores["judge_accuracy_worst_label_certainty"] > 0.99
    binomial = math.sqrt(0.25 / EACH) / 3
    assert scores["judge_accuracy_standard_error"] == pytest.approx(binomial, rel=0.02)
    assert scores["diversity"] == pytest.approx(0.0, abs=1e-5)
    assert scores["judge_accuracy_spread"] == pytest.approx(1.0, abs=0.02)
    by_label = {name: scores[f"judge_accuracy/{name}"] for name in patterns.label_names}
    assert by_label == {"stripes": 1.0, "bars": 0.5, "dots": 0.0}


def test_tells_which_labels_wrong_images_are_taken_for(
    patterns: ImageData, judges: Ensemble
) -> None:
    told: list[Tensor] = []
    model = Replay(patterns, wrong=(0.0, 0.25, 1.0))
    values = generation_metrics(model, patterns, judges, per_label=EACH, confusion=told.append)
    scores = dict(values)
    confused = {
        name: value
        for name, value in scores.items()
        if "confusion" in name and not name.endswith("error")
    }
    assert confused == {"judge_confusion/bars>dots": 0.25, "judge_confusion/dots>stripes": 1.0}
    assert [counts.tolist() for counts in told] == [[[400, 0, 0], [0, 300, 100], [400, 0, 0]]]


@pytest.mark.parametrize(("obeys", "expected"), [(True, 1.0), (False, 0.0)])
def test_swapped_latents_show_what_decides(
    obeys: bool, expected: float, patterns: ImageData, judges: Ensemble
) -> None:
    model = Replay(patterns, obeys=obeys)
    scores = dict(generation_metrics(model, patterns, judges, per_label=EACH))
    assert scores["label_adherence_swapped_z"] == expected
    assert scores["label_adherence_swapped_noise"] == expected


def test_latents_that_a_prior_moves_with_the_label_obey_it(
    patterns: ImageData, judges: Ensemble
) -> None:
    model = Replay(patterns, obeys=False, shift=10.0)
    scores = dict(generation_metrics(model, patterns, judges, per_label=EACH))
    assert scores["label_adherence_swapped_z"] == 0.0
    assert scores["label_adherence_swapped_noise"] == 1.0


@pytest.mark.parametrize("binarize", ["none", "dynamic"])
def test_the_encoder_sees_what_it_was_trained_on(
    binarize: Binarization, patterns: ImageData, judges: Ensemble
) -> None:
    model = Replay(patterns, binarize=binarize)
    dict(generation_metrics(model, patterns, judges, per_label=EACH))
    seen = torch.cat(model.encoded)
    assert seen.shape == patterns.test.images.shape
    assert torch.equal(seen, seen.round()) == (binarize == "dynamic")


def test_draws_a_thousand_of_few_labels(patterns: ImageData, judges: Ensemble) -> None:
    model = Replay(patterns, wrong=(0.001, 0.0, 0.0))
    scores = dict(generation_metrics(model, patterns, judges))
    assert scores["judge_accuracy/stripes"] == pytest.approx(0.999)


def test_the_error_of_a_spread_is_that_of_many_samples() -> None:
    generator = torch.Generator().manual_seed(0)
    found = [spread(torch.randn(60, 2, generator=generator)) for _ in range(300)]
    values = torch.tensor([each.value for each in found])
    assert values.mean() == pytest.approx(math.sqrt(math.pi), rel=0.02)  # of two N(0, I) in a plane
    errors = torch.tensor([each.error for each in found])
    assert errors.mean() == pytest.approx(values.std().item(), rel=0.15)
