"""How unlike the training data examples are: the scores, the figures, and the command."""

import csv
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from onnxruntime import InferenceSession
from PIL import Image
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve
from sklearn.neighbors import NearestNeighbors

from distvae import VAE, ConditionalVAE, DistvaeError
from distvae.conditions import Context
from distvae.config import ModelConfig
from distvae.data.batches import ResidentImages
from distvae.data.provenance import open_recorded
from distvae.evaluation.anomaly import scores_of
from distvae.evaluation.likelihood import log_likelihood
from distvae.export.convert import Origin, score_graph
from distvae.export.scorer import Scorer
from distvae.models import build_model
from distvae.runs import find_run
from distvae.tools.detection import detection, percentiles
from distvae.tools.score import score
from tests.conftest import SHAPES, TEST_IMAGES, Command, assert_refused, write_shapes


@pytest.mark.parametrize("ties", [False, True])
def test_figures_of_detection_are_those_of_sklearn(ties: bool) -> None:
    random = np.random.default_rng(0)
    strange, usual = random.normal(1.0, 1.0, 300), random.normal(0.0, 1.0, 500)
    if ties:
        strange, usual = strange.round(), usual.round()
    found = detection(strange, usual)
    labels, values = np.r_[np.ones(300), np.zeros(500)], np.r_[strange, usual]
    assert found.auroc == pytest.approx(roc_auc_score(labels, values), abs=1e-12)
    assert found.auprc == pytest.approx(average_precision_score(labels, values), abs=1e-12)
    false, true, _ = roc_curve(labels, values, drop_intermediate=False)
    assert found.false_alarms == pytest.approx(false[true >= 0.95].min(), abs=1e-12)


def test_the_error_of_an_auroc_is_its_deviation_over_draws() -> None:
    random = np.random.default_rng(1)
    draws = [
        detection(random.normal(1.0, 1.0, 60), random.normal(0.0, 1.0, 90)) for _ in range(400)
    ]
    spread = np.std([one.auroc for one in draws])
    assert np.mean([one.error for one in draws]) == pytest.approx(spread, rel=0.12)
    with pytest.raises(DistvaeError, match="no anomalies"):
        detection(np.empty(0), np.ones(3))
    assert percentiles(np.array([0.0, 2.0, 9.0]), np.array([1.0, 2.0, 2.0, 3.0])).tolist() == [
        *(0.0, 50.0, 100.0)
    ]


def small(likelihood: str, **more: object) -> VAE:
    torch.manual_seed(0)
    settings = {"likelihood": likelihood, "prior": "normal", "hidden": (8,), "latent_dim": 2}
    return build_model(ModelConfig(model="vae", **settings, **more), (1, 5, 5), ()).eval()


@pytest.mark.parametrize("likelihood", ["gaussian", "bernoulli", "discretized_logistic"])
def test_scores_are_those_of_a_second_way(likelihood: str) -> None:
    """Densities of torch.distributions; the share that is not explained in numpy's float64."""
    model = small(likelihood, **({"sigma": 0.2} if likelihood == "gaussian" else {}))
    images = torch.rand(6, 1, 5, 5, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found = scores_of(model, images, None)
        posterior = model.encode(images)
        means = model.decode(posterior.mean).double().numpy()
        raw = model.decoder(posterior.mean, None)
    normal: Any = torch.distributions.Normal
    q = normal(posterior.mean, (0.5 * posterior.log_variance).exp())
    prior = normal(torch.zeros(2), torch.ones(2))
    rate = torch.distributions.kl_divergence(q, prior).sum(1).numpy()
    np.testing.assert_allclose(found.rate, rate, rtol=1e-5)
    x = images.double().numpy()
    flat = np.broadcast_to(x.mean((2, 3), keepdims=True), x.shape)
    if likelihood == "gaussian":
        density = normal(raw, 0.2).log_prob(images).sum((1, 2, 3))
        np.testing.assert_allclose(found.distortion, -density, rtol=1e-4)
        part, whole = (np.square(x - m).sum((1, 2, 3)) / 0.08 for m in (raw.numpy(), flat))
        share = (part + rate) / (whole + 25 * 0.25**2 / 0.08)
    elif likelihood == "bernoulli":
        logistic = torch.nn.functional.binary_cross_entropy_with_logits
        nats = logistic(raw, images, reduction="none").sum((1, 2, 3))
        np.testing.assert_allclose(found.distortion, nats, rtol=1e-5)
        odds = [(x / m, (1 - x) / (1 - m)) for m in (means, flat)]
        part, whole = (
            (x * np.log(white) + (1 - x) * np.log(black)).sum((1, 2, 3)) for white, black in odds
        )
        contrast = 25 * (0.75 * math.log(1.5) + 0.25 * math.log(0.5))
        share = (part + rate) / (whole + contrast)
    else:
        spread = np.square(x - flat).sum((1, 2, 3)) + 25 * 0.25**2
        share = np.square(x - means).sum((1, 2, 3)) / spread
    np.testing.assert_allclose(found.score, share, rtol=2e-4)


@pytest.mark.parametrize("likelihood", ["gaussian", "bernoulli", "discretized_logistic"])
def test_a_picture_that_is_nearly_flat_is_not_the_strangest(likelihood: str) -> None:
    """Sky with a little noise, which no decoder explains, beside noise of full contrast."""
    model = small(likelihood)
    with torch.no_grad():
        for parameter in model.decoder.parameters():
            parameter.zero_()  # it draws one grey, whatever the latents
        drawn = model.decode(torch.zeros(1, 2))
    random = torch.Generator().manual_seed(0)
    off = torch.randn(1, 1, 5, 5, generator=random).sign()
    images = torch.cat([drawn, drawn + 0.01 * off, drawn + 0.4 * off]).clamp(0.0, 1.0)
    with torch.no_grad():
        heart, sky, noise = scores_of(model, images, None).score.tolist()
        black = scores_of(model, torch.zeros(1, 1, 5, 5), None).score
    assert abs(sky - heart) < 0.1 * (noise - heart)
    assert torch.isfinite(black).all()


@pytest.fixture
def known(here: Path, finished: Path) -> Path:
    """A finished run, in this process."""
    return finished


def test_in_python_scores_are_in_the_order_of_the_images(known: Path) -> None:
    run = find_run(str(known))
    model, data = VAE.from_pretrained(known), open_recorded(run, None)
    images = ResidentImages.from_split(data.test)
    found = score(str(known), knn=True, draws=60, seed=3)
    expected = log_likelihood(model, images, 3, 60).log_likelihood
    np.testing.assert_allclose(found.scores["log_likelihood"], expected, rtol=1e-6)
    assert found.percentile is not None
    assert found.percentile.mean() == pytest.approx(50.0)
    np.testing.assert_array_equal(np.argsort(found.percentile), np.argsort(found.score))

    def codes(split: torch.Tensor, labels: Any) -> np.ndarray:
        inputs = model.domain.to_expected_input(split)
        with torch.no_grad():
            return model.encode(inputs, labels).mean.double().numpy()

    stored = ResidentImages.from_split(data.train)
    train = codes(torch.from_numpy(np.array(data.train.stored)), stored.labels)
    test = codes(torch.from_numpy(np.array(data.test.stored)), images.labels)
    scale = train.std(0, ddof=1)
    near = NearestNeighbors(n_neighbors=5).fit(train / scale).kneighbors(test / scale)[0][:, -1]
    np.testing.assert_allclose(found.scores["knn"], near, rtol=1e-5)
    arrays = np.array(data.test.stored)[:7]
    assert data.test.labels is not None
    labels = [SHAPES[label] for label in data.test.labels[:7]]
    again = score(model, arrays, labels)
    np.testing.assert_allclose(again.score, found.score[:7], rtol=1e-6)
    assert again.percentile is None


@pytest.mark.slow
def test_the_command_tells_the_strange_from_the_usual(
    run: Path, here: Path, command: Command, environment: dict[str, str]
) -> None:
    folder = write_shapes(here / "new", 6, 9)
    (folder / "noise").mkdir()
    random = np.random.default_rng(0)
    for number in range(8):
        pixels = random.integers(0, 256, (8, 8), np.uint8)
        Image.fromarray(pixels).save(folder / "noise" / f"{number}.png")
    ended = command("score", run, "--data", folder, "--anomaly-label", "noise", "--draws", 5)
    assert ended.code == 0, ended.err
    for word in ("8 anomalies told from 18", "knn", "ratio", "log_likelihood", "AUROC", "written"):
        assert word in ended.out
    with (run / "score" / "scores.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 26
    values = [float(row["score"]) for row in rows]
    assert values == sorted(values, reverse=True)
    assert {row["label"] for row in rows[:4]} == {"noise"}
    assert float(rows[0]["percentile"]) == 100.0
    for name in ("strangest.png", "histogram.png"):
        with Image.open(run / "score" / name) as picture:
            assert np.asarray(picture.convert("L")).std() > 5.0
    assert command("export", run).code == 0
    scorer = Scorer(run / "onnx" / "score.onnx")
    assert scorer.threshold is not None
    assert (scorer.threshold.false_alarms, scorer.threshold.examples) == (0.01, TEST_IMAGES)
    by_run = {row["id"]: float(row["score"]) for row in rows if row["label"] != "noise"}
    code = "import sys\nfor name in ('torch', 'datasets'): sys.modules[name] = None\n"
    words = ["score", "run/onnx/score.onnx", "--data", "new", "--label", "cross"]
    code += f"from distvae.cli import main\nsys.exit(main({[*words, '--output', 'out']!r}))"
    process = [sys.executable, "-c", code]
    alone = subprocess.run(process, cwd=here, env=environment, capture_output=True, text=True)
    assert alone.returncode == 0, alone.stderr
    with (here / "out" / "scores.csv").open() as file:
        other = {row["id"]: float(row["score"]) for row in csv.DictReader(file)}
    same = [name for name in by_run if name.startswith("cross")]
    assert len(same) == 6
    for name in same:
        assert math.isclose(other[name], by_run[name], rel_tol=1e-4)


def test_what_does_not_go_together_is_refused(run: Path, command: Command) -> None:
    ended = command("score", run, "--anomaly-label", "cross", "--against", "test")
    assert_refused(ended, "--anomaly-label does not go with --against")
    assert_refused(command("score", run, "--anomaly-label", "nosuch"), "label nosuch")
    assert_refused(command("score", run, "--background", run), "--background", "without labels")
    assert not (run / "score").exists()
    known = command("score", run, "--anomaly-label", "cross", "--output", run / "scores.csv")
    assert "the model was trained on cross: what it knows is not strange to it" in known.err


def test_a_score_graph_takes_a_batch_of_any_size_where_each_label_has_components() -> None:
    torch.manual_seed(0)
    config = ModelConfig(latent_dim=2, hidden=(8,), prior="vamp", prior_components=2)
    model = ConditionalVAE(config, (1, 4, 4), ("a", "b", "c")).eval()
    session = InferenceSession(score_graph(model, Origin({}, {})).SerializeToString())
    images = torch.randint(0, 256, (5, 1, 4, 4), dtype=torch.uint8)
    labels = torch.tensor([2, 0, 1, 1, 2])
    with torch.no_grad():
        inputs = model.domain.to_expected_input(images)
        expected = scores_of(model, inputs, Context(labels))
    for size in (1, 5):
        feed = {"image": images[:size].numpy(), "label": labels[:size].numpy()}
        found = session.run(["distortion", "rate", "score"], feed)
        for mine, one in zip(found, expected, strict=True):
            np.testing.assert_allclose(mine, one[:size].numpy(), rtol=1e-5, atol=1e-5)
