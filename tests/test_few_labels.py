"""Learning from few labels: hidden ones, those that spread, and the bound M2."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli, Categorical, Normal, kl_divergence

from distvae.batch import Batch
from distvae.conditions import Conditions
from distvae.config import DataConfig, ModelConfig, ObjectiveConfig
from distvae.data.hiding import hide_labels
from distvae.data.store import open_data
from distvae.errors import DistvaeError
from distvae.models import build_model
from distvae.objectives import OBJECTIVES, Pressure, RunFacts
from distvae.objectives.m2 import steepest, unit
from distvae.spreading import ROUNDS, SHARE, nearest, spread
from tests.conftest import Command, assert_refused

LABELS = ("a", "b", "c")
NAMES = ("--hidden", "16", "--latent-dim", "3", "--batch-size", "12", "--prior", "normal")


def facts(model: Any, **settings: Any) -> RunFacts:
    config = ObjectiveConfig(objective="m2", **settings).resolved()
    dims = math.prod(model.domain.shape)
    latents = model.latents
    return RunFacts(config, latents.levels, latents.infer_dim, latents.noise_dim, dims, 100)


def tiny() -> Any:
    torch.manual_seed(0)
    parts = ModelConfig(hidden=(8,), latent_dim=2, prior="normal", infer_label=True)
    return build_model(parts, (1, 4, 4), LABELS)


def test_the_bound_is_that_of_torch_distributions() -> None:
    model = tiny()
    stored = torch.randint(0, 256, (5, 1, 4, 4), dtype=torch.uint8)
    labels = torch.tensor([2, -1, 0, -1, -1])
    noise, kl_weight, weight = torch.randn(5, 2), 1.3, 7.0
    objective = OBJECTIVES["m2"](facts(model, smoothness=0.0, label_weight=weight))
    batch = Batch(stored, Conditions.of_labels(labels), noise, None)
    found = objective(model, batch, Pressure(kl_weight, 0.0))

    x = stored.float() / 255.0
    q_y: Any = Categorical(logits=model.classifier(x))
    losses = []
    for label in range(3):
        asked = torch.full((5,), label)
        posterior = model.encode(x, asked)
        scale = (0.5 * posterior.log_variance).exp()
        q = Normal(posterior.mean, scale)
        probabilities = model.decode(posterior.mean + scale * noise, asked)
        black_and_white: Any = Bernoulli(probabilities, validate_args=False)
        distortion = -black_and_white.log_prob(x).flatten(1).sum(1)
        losses.append(distortion + kl_weight * kl_divergence(q, Normal(0.0, 1.0)).sum(1))
    by_label = torch.stack(losses, 1)
    summed = (q_y.probs * by_label).sum(1) + math.log(3) - q_y.entropy()
    known = labels >= 0
    bound = torch.where(known, by_label.gather(1, labels.clamp(min=0)[:, None])[:, 0], summed)
    torch.testing.assert_close(model.label_probabilities(x), q_y.probs)
    cross_entropy = -q_y.log_prob(labels.clamp(min=0))[known].mean()
    torch.testing.assert_close(found.loss, bound.mean() + weight * cross_entropy)
    torch.testing.assert_close(found.extras["label_loss"], cross_entropy)


def test_a_batch_without_labels_or_without_gaps_has_a_gradient() -> None:
    for labels in ([-1, -1], [1, 0]):
        model = tiny()
        objective = OBJECTIVES["m2"](facts(model))
        batch = Batch(
            torch.full((2, 1, 4, 4), 100, dtype=torch.uint8),
            Conditions.of_labels(torch.tensor(labels)),
            torch.randn(2, objective.noise_dim),
            None,
        )
        objective(model, batch, Pressure(1.0, 0.0)).loss.backward()
        assert model.classifier.out.weight.grad.abs().sum() > 0.0


def test_the_steepest_direction_of_a_linear_classifier_is_known() -> None:
    torch.manual_seed(0)
    linear = nn.Linear(6, 2)
    inputs, start = torch.randn(4, 6), 1e-3 * torch.randn(4, 6)

    def classifier(rows: Tensor) -> Tensor:
        logits: Tensor = linear(rows)
        return logits.log_softmax(1)

    found: Any = steepest(classifier, inputs, classifier(inputs).detach(), start)  # type: ignore[arg-type]
    along = linear.weight[0] - linear.weight[1]
    cosine = (found @ along / along.norm()).abs()
    torch.testing.assert_close(cosine, torch.ones(4), atol=1e-3, rtol=0.0)


def test_a_direction_has_norm_one_however_small_the_gradient() -> None:
    rows = torch.tensor([[3.0, 4.0], [3e-30, 4e-30], [0.0, 0.0], [3e30, -4e30]])
    torch.testing.assert_close(
        unit(rows), torch.tensor([[0.6, 0.8], [0.6, 0.8], [0.0, 0.0], [0.6, -0.8]])
    )


def test_labels_spread_as_dense_algebra_has_it() -> None:
    torch.manual_seed(0)
    features = torch.cat([torch.randn(12, 3), torch.randn(12, 3) + 6.0]).double()
    labels = torch.full((24,), -1)
    labels[3], labels[20] = 1, 0
    distances, rows = nearest(features, 4)
    every = torch.cdist(features, features).square().fill_diagonal_(math.inf)
    expected = every.sort(1)
    torch.testing.assert_close(distances, expected.values[:, :4])
    assert torch.equal(rows, expected.indices[:, :4])

    weights = torch.zeros(24, 24, dtype=torch.float64)
    for row in range(24):
        for place in range(4):
            there = int(rows[row, place])
            weight = math.exp(-4.0 * float(distances[row, place] / distances[row, -1]))
            weights[row, there] += weight
            weights[there, row] += weight
    root = weights.sum(1).rsqrt()
    graph, first = root[:, None] * weights * root, torch.zeros(24, 2, dtype=torch.float64)
    first[3, 1] = first[20, 0] = 1.0
    reached = first
    for _ in range(ROUNDS):
        reached = SHARE * graph @ reached + (1.0 - SHARE) * first
    found = spread(distances, rows, labels, 2)
    meant = torch.where(reached.sum(1) > 0, reached.argmax(1), -1)
    assert torch.equal(found, meant)
    assert found.tolist() == [1] * 12 + [0] * 12


def test_labels_are_kept_by_turns(shapes: Path) -> None:
    data = open_data(DataConfig(data=str(shapes)))
    before = data.train.labels
    assert before is not None
    hidden = hide_labels(data, 8, 0)
    labels = hidden.train.labels
    assert labels is not None
    assert sorted(np.bincount(labels[labels >= 0])) == [2, 3, 3]
    assert (labels[labels >= 0] == before[labels >= 0]).all()
    assert hidden.test is data.test
    again, other = hide_labels(data, 8, 0).train.labels, hide_labels(data, 8, 1).train.labels
    assert np.array_equal(labels, again)  # type: ignore[arg-type]
    assert not np.array_equal(labels, other)  # type: ignore[arg-type]
    only = hidden.labelled()
    assert len(only.train) == 8
    assert np.array_equal(only.train.stored, data.train.stored[labels >= 0])
    assert len(hidden.labelled(whole_training=True).train) == len(data.train)
    for keep in (2, 121):
        with pytest.raises(DistvaeError, match=f"--keep-labels {keep}"):
            hide_labels(data, keep, 0)
    with pytest.raises(DistvaeError, match="one label for each example"):
        hide_labels(replace(data, label_names=()), 6, 0)


@pytest.mark.slow
def test_few_labels_from_the_command_line(shapes: Path, here: Path, command: Command) -> None:
    common = ("--data", shapes, *NAMES, "--threads", "1", "--mixed-precision", "no")
    assert command("train", *common, "--model", "vae", "--epochs", "6", "--output", "m1").code == 0
    m2 = ("--objective", "m2", "--keep-labels", "6")
    few = (*common, *m2, "--checkpoint-every", "10", "--log-every", "1")
    told = command("train", *few, "--spread-labels", "m1", "--epochs", "3", "--output", "few")
    assert told.code == 0, told.err
    said = " ".join((told.out + told.err).split())
    assert "6 of 120 training images keep their label, 2 of each, seed 0" in said
    assert "labels of 6 training images spread to 114 others" in said
    assert np.load(here / "few" / "labels.npy", allow_pickle=False).shape == (120,)

    (here / "m1").rename(here / "elsewhere")  # a run goes on without it
    told = command("train", "--resume", "few", "--epochs", "4")
    assert told.code == 0, told.err
    lines = [json.loads(line) for line in (here / "few/metrics.jsonl").read_text().splitlines()]
    errors = [line["label_error"] for line in lines if line["split"] == "test"]
    assert len(errors) >= 2
    assert 0.0 <= errors[-1] < 0.67
    assert command("evaluate", "few", "--metrics", "labels").code == 0
    measured = json.loads((here / "few" / "evaluation.json").read_text())
    assert measured["label_error"] == pytest.approx(errors[-1])

    for flags, word in (
        ((*m2, "--spread-labels", "m1"), "m1"),
        ((*m2, "--spread-labels", "few"), "--spread-labels few"),
        ((*m2[:2], "--spread-labels", "elsewhere"), "--spread-labels elsewhere"),
        (("--objective", "m2", "--no-infer-label"), "--infer-label"),
        (("--infer-label",), "--infer-label"),
    ):
        assert_refused(command("train", *common, *flags, "--output", "other"), word)
        assert not (here / "other" / "config.json").exists()
