"""The scores of representations of which it is known how disentangled they are.

The images are the factors themselves: a pixel for each, as grey as the number of its class.
"""

import functools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.metrics import mutual_info_score
from torch import Tensor

from distvae.config import DataConfig, ModelConfig
from distvae.data.factors import Factor, classes_of
from distvae.data.store import ImageData, open_data
from distvae.draws.philox import Stream
from distvae.draws.sequence import Numbers
from distvae.errors import DistvaeError
from distvae.evaluation.disentanglement import (
    BINS,
    VOTES,
    Codes,
    Encode,
    dci,
    disentanglement_metrics,
    disentanglement_scores,
    factor_vae_score,
    mutual_information,
    mutual_information_gaps,
    sap,
)
from distvae.evaluation.factor_grid import FactorData
from distvae.models import build_model
from tests.data.grids import write_grid

SIZES = {"kind": 3, "size": 6, "x": 8, "y": 8}
FACTORS = tuple(
    Factor(name, tuple(map(float, range(size))), categorical=name == "kind")
    for name, size in SIZES.items()
)
GRID = FactorData(
    FACTORS, lambda rows: classes_of(FACTORS, rows).astype(np.uint8)[:, None, None, :]
)
SPREAD = torch.tensor([(size**2 - 1) / 12 for size in SIZES.values()]).sqrt()


def perfect(images: Tensor, labels: Tensor) -> Tensor:
    """Each latent is one factor; one more is idle."""
    factors = images[:, 0, 0] / SPREAD
    return torch.cat([factors, torch.zeros(len(images), 1)], dim=1)


def rotated(angle: float) -> Encode:
    """The same information: the four factors turned in two planes and then in two others."""
    signs = torch.tensor([1.0, 1.0, -1.0, -1.0])

    def encode(images: Tensor, labels: Tensor) -> Tensor:
        factors = images[:, 0, 0] / SPREAD
        for others in ([3, 2, 1, 0], [2, 3, 0, 1]):
            factors = math.cos(angle) * factors + math.sin(angle) * signs * factors[:, others]
        return factors

    return encode


def noise() -> Encode:
    generator = torch.Generator().manual_seed(0)
    return lambda images, labels: torch.randn(len(images), 5, generator=generator)


@functools.cache
def scores(of: str) -> dict[str, float]:
    encode = {"perfect": perfect, "rotated": rotated(0.4), "noise": noise()}[of]
    return dict(disentanglement_scores(encode, GRID, seed=0))


def rising() -> NDArray[np.int64]:
    return np.arange(2000) % 10


def test_factors_themselves_are_perfect() -> None:
    found = scores("perfect")
    for name in ("mig", "dci_disentanglement", "dci_completeness", "factor_vae_score"):
        assert found[name] == pytest.approx(1.0, abs=0.01)
    assert found["dci_informativeness"] == 1.0
    # between the kinds, guessing is a third right
    assert found["sap"] == pytest.approx((3 + 2 / 3) / 4, abs=0.02)


@pytest.mark.slow
def test_noise_knows_nothing() -> None:
    found = scores("noise")
    for name in ("mig", "sap", "dci_disentanglement", "dci_completeness"):
        assert found[name] < 0.05
    chance = np.mean([1 / size for size in SIZES.values()])
    assert found["dci_informativeness"] == pytest.approx(chance, abs=0.05)
    assert found["factor_vae_score"] == pytest.approx(1 / len(SIZES), abs=0.05)


@pytest.mark.slow
def test_a_rotation_is_between_the_two() -> None:
    best, found, worst = scores("perfect"), scores("rotated"), scores("noise")
    for name in ("mig", "sap", "dci_disentanglement", "dci_completeness"):
        assert worst[name] + 0.05 < found[name] < best[name] - 0.2


def votes(seed: int) -> Numbers:
    return Numbers(seed, Stream.VOTES)


def test_idle_latents_score_nothing() -> None:
    means, classes = np.zeros((900, 2)), classes_of(FACTORS, np.arange(900))
    assert mutual_information_gaps(means, classes) == pytest.approx([0.0] * 4, abs=1e-9)
    assert sap(means, classes, 600, FACTORS) == 0.0
    found = dci(means, classes, 600, seed=0)
    assert (found["disentanglement"], found["completeness"]) == (0.0, 0.0)
    codes = Codes(lambda images, labels: torch.zeros(len(images), 2), GRID)
    assert factor_vae_score(codes, np.zeros(2), votes(0)) == 0.0


@pytest.mark.slow
def test_votes_are_less_sure_the_further_it_is_turned() -> None:
    """And their error is that of as many throws of a coin."""
    found = []
    for angle in (0.4, 0.6, 0.7):
        codes = Codes(rotated(angle), GRID)
        variance = codes(np.arange(len(GRID))).var(axis=0)
        draws = [factor_vae_score(codes, variance, votes(n)) for n in range(6)]
        share = np.mean(draws)
        assert np.std(draws, ddof=1) < 3 * math.sqrt(share * (1 - share) / VOTES) + 1e-9
        found.append(share)
    assert 1 / len(SIZES) < found[2] + 0.05 < found[1] < found[0] + 1e-9


def test_mutual_information_is_scikit_learns() -> None:
    random = np.random.default_rng(0)
    codes = random.integers(0, 20, 3000)
    for classes in (random.integers(0, 7, 3000), codes // 3, np.zeros(3000, np.int64)):
        expected = mutual_info_score(codes, classes)
        assert mutual_information(codes, classes) == pytest.approx(expected, abs=1e-12)


def test_gap_by_hand() -> None:
    """One latent is the factor, another agrees with it three times in four."""
    factor = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    other = np.array([0, 0, 0, 1, 1, 1, 1, 0])
    means = np.stack([other, 5.0 - 2.0 * factor, np.zeros(8)], axis=1)
    missing = -(0.75 * math.log2(0.75) + 0.25 * math.log2(0.25))  # of the factor's one bit
    assert mutual_information_gaps(means, factor[:, None]) == pytest.approx([missing])


def test_gaps_are_those_of_equal_bins() -> None:
    random = np.random.default_rng(1)
    classes = np.stack([random.integers(0, 4, 5000), random.integers(0, 9, 5000)], axis=1)
    means = random.normal(size=(5000, 3))
    means[:, 0] += classes[:, 0]
    means[:, 1] += 0.5 * classes[:, 1]
    means[:, 2] += 0.2 * classes.sum(1)
    binned = [np.digitize(z, np.histogram(z, BINS)[1][:-1]) for z in means.T]
    expected = []
    for factor in classes.T:
        known = np.sort([mutual_info_score(factor, z) for z in binned])
        expected.append((known[-1] - known[-2]) / mutual_info_score(factor, factor))
    assert mutual_information_gaps(means, classes) == pytest.approx(expected)
    shuffled = means[:, [2, 0, 1]] * [-3.0, 0.1, 7.0] + 1.0
    assert mutual_information_gaps(shuffled, classes) == pytest.approx(expected, abs=0.01)


def test_sap_is_the_gap_between_shares_of_variance() -> None:
    target = rising()
    blurred = target + np.random.default_rng(0).normal(size=2000) * target.std()
    means = np.stack([target.astype(float), blurred], axis=1)
    ordered = (Factor("x", tuple(map(float, range(10)))),)
    assert sap(means, target[:, None], 1000, ordered) == pytest.approx(0.5, abs=0.03)


def test_sap_puts_thresholds_between_kinds_in_any_order() -> None:
    target = rising() % 3
    latent = np.array([1.0, 5.0, 3.0])[target][:, None]
    kinds = (Factor("kind", (1.0, 2.0, 3.0), categorical=True),)
    assert sap(latent, target[:, None], 1000, kinds) == 1.0


def test_a_factor_in_two_latents_is_disentangled_but_not_complete() -> None:
    random = np.random.default_rng(0)
    classes = random.integers(0, 8, (3000, 2))
    high, low = classes[:, 0] // 4, classes[:, 0] % 4
    means = np.stack([high, low, classes[:, 1]], axis=1).astype(float)
    found = dci(means, classes, 2000, seed=0)
    assert found["disentanglement"] > 0.95
    assert found["informativeness"] == 1.0
    # a bit of three and two of three of the first factor; the second is in one latent
    thirds = -(1 / 3 * math.log(1 / 3, 3) + 2 / 3 * math.log(2 / 3, 3))
    assert found["completeness"] == pytest.approx(1 - thirds / 2, abs=0.1)


def test_two_factors_in_a_latent_are_complete_but_not_disentangled() -> None:
    classes = np.random.default_rng(0).integers(0, 4, (3000, 2))
    means = np.stack([4.0 * classes[:, 0] + classes[:, 1], np.zeros(3000)], axis=1)
    found = dci(means, classes, 2000, seed=0)
    assert found == pytest.approx(
        {"disentanglement": 0.0, "completeness": 1.0, "informativeness": 1.0}, abs=0.01
    )


@pytest.fixture
def grid(tmp_path: Path) -> ImageData:
    path = write_grid(tmp_path / "grid.npz")
    return open_data(DataConfig(data=str(path), cache_dir=str(tmp_path / "cache")))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["vae", "cvae"])
def test_a_model_is_scored(grid: ImageData, kind: str) -> None:
    config = ModelConfig(model=kind, prior="normal", hidden=(16,), latent_dim=3)
    torch.manual_seed(0)
    model = build_model(config, grid.image_shape, grid.label_names).eval()
    found = dict(disentanglement_metrics(model, grid, seed=0))
    assert found == dict(disentanglement_metrics(model, grid, seed=0))
    assert ("mig_shape" in found) == (kind == "vae")  # which a conditional model is told
    assert {"mig_scale", "mig_y", "sap", "dci_completeness", "factor_vae_score"} <= found.keys()
    assert all(0 <= value <= 1 for value in found.values())
    assert all(f"{name}_standard_error" in found for name in ("mig", "mig_x", "sap"))
    names = [f"mig_{factor.name}" for factor in grid.factors]
    assert found["mig"] == pytest.approx(np.mean([found[name] for name in names if name in found]))


def test_data_without_factors_is_refused(patterns: ImageData) -> None:
    model = build_model(
        ModelConfig(hidden=(16,), latent_dim=3), patterns.image_shape, patterns.label_names
    )
    with pytest.raises(DistvaeError, match="factors of patterns are not known"):
        next(disentanglement_metrics(model, patterns, seed=0))
