"""Errors over images, judges and labels, against repeated experiments."""

import math

import numpy as np
import pytest
import torch

from distvae.evaluation.uncertainty import (
    Estimate,
    averaged,
    estimate_metrics,
    pooled,
    share,
    share_error,
    spread_metrics,
    worst_metrics,
)


def test_the_error_of_a_mean_over_judges_is_that_of_repeated_experiments() -> None:
    """Judges that are right with a share of their own, of which others would be drawn anew."""
    generator = np.random.default_rng(0)
    values, errors = [], []
    for _ in range(400):
        skills = 0.9 + 0.03 * generator.standard_normal(5)
        estimate = share(torch.from_numpy(generator.random((500, 5)) < skills))
        values.append(estimate.value)
        errors.append(estimate.error)
    # images are drawn anew for each judge here, so that their error is counted twice
    assert 0.9 < np.mean(errors) / np.std(values) < 1.2


def test_images_that_all_judges_see_alike_do_not_count_five_times() -> None:
    hits = torch.rand(300, 1, generator=torch.Generator().manual_seed(0)) < 0.7
    alone, alike = share(hits), share(hits.expand(-1, 5))
    assert alike.error == pytest.approx(alone.error)
    assert alike.value == pytest.approx(alone.value)
    assert alone.error == pytest.approx(float(hits.double().std()) / math.sqrt(300), rel=0.01)


def test_the_spread_of_judges_is_in_the_error() -> None:
    estimate = Estimate((1.17, 0.83, 1.37), 0.05)
    deviation = np.std([1.17, 0.83, 1.37], ddof=1)
    assert estimate.error == pytest.approx(math.sqrt(0.05**2 + deviation**2 / 3))
    found = dict(estimate_metrics("fid_judge", estimate))
    assert found["fid_judge"] == pytest.approx(1.1233, abs=1e-4)
    assert found["fid_judge_between_judges"] == pytest.approx(deviation)
    assert "fid_judge/7_between_judges" not in dict(estimate_metrics("fid_judge/7", estimate))
    assert dict(estimate_metrics("it", Estimate((2.0,), math.nan))) == {"it": 2.0}


def test_few_right_images_do_not_make_a_share_certain() -> None:
    assert share(torch.ones(4, 5, dtype=torch.bool)).error == pytest.approx(1 / 8)
    assert share_error(0.25, 10_000) == pytest.approx(0.005, rel=1e-4)


def test_figures_are_pooled_by_name() -> None:
    one = {"fid": 1.0, "fid_standard_error": 0.3, "odd": 1.0}
    other = {"fid": 2.0, "fid_standard_error": 0.4}
    found = pooled([one, other])
    assert found.keys() == {"fid"}
    assert found["fid"].values == (1.0, 2.0)
    assert found["fid"].sampling == pytest.approx(math.sqrt(0.125))
    mean = averaged([found["fid"], Estimate((3.0, 3.0), 0.0)])
    assert mean.values == (2.0, 2.5)
    assert mean.sampling == pytest.approx(math.sqrt(0.125) / 2)


@pytest.mark.slow
@pytest.mark.parametrize("judges", [1, 5])
def test_the_worst_of_ten_alike_is_not_worse_than_they_are(judges: int) -> None:
    """The bias of choosing the worst is taken off in part: what is left is less than half of it."""
    generator = np.random.default_rng(1)
    naive, corrected, spreads, errors = [], [], [], []
    for _ in range(300):
        truth = generator.standard_normal((10, 1)) * 0.01
        found = [Estimate(tuple(0.9 + row.repeat(judges)), 0.01) for row in truth]
        naive.append(min(each.value for each in found))
        scores = dict(worst_metrics("it", found))
        corrected.append(scores["it_worst_label"])
        errors.append(scores["it_worst_label_standard_error"])
        assert scores["it_worst_label_certainty"] < 0.95
        spreads.append(dict(spread_metrics("it", found))["it_spread"])
    bias = 0.9 - np.mean(naive)
    assert bias == pytest.approx(0.0154, rel=0.1)  # of the least of ten normals
    assert 0.0 < 0.9 - np.mean(corrected) < 0.6 * bias
    assert np.mean(spreads) < 0.6 * 2 * bias
    assert np.mean(errors) == pytest.approx(np.std(naive), rel=0.3)


def test_a_label_far_behind_is_told_as_it_is() -> None:
    found = [Estimate((0.99,), 0.003)] * 9 + [Estimate((0.80,), 0.004)]
    scores = dict(worst_metrics("it", found))
    assert scores["it_worst_label"] == pytest.approx(0.80, abs=0.0005)
    assert scores["it_worst_label_standard_error"] == pytest.approx(0.004, rel=0.1)
    assert scores["it_worst_label_certainty"] == 1.0


def test_judges_of_two_minds_make_the_worst_uncertain() -> None:
    """Each judge is sure of a worst label, and it is not the same."""
    five, seven = Estimate((0.90, 0.99, 0.90, 0.99), 1e-4), Estimate((0.99, 0.91, 0.99, 0.91), 1e-4)
    scores = dict(worst_metrics("it", [five, seven]))
    assert 0.2 < scores["it_worst_label_certainty"] < 0.8
    assert scores["it_worst_label_standard_error"] > 0.005
