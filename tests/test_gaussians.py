"""Mixtures of Gaussians against scikit-learn's, which fits the same from the same start."""

import math
import warnings

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

from distvae.gaussians import MOST_STEPS, REGULARIZATION, TOLERANCE, fit_gaussians


def points_of(kind: str) -> NDArray[np.float64]:
    random = np.random.default_rng(1)
    kinds: dict[str, NDArray[np.float64]] = {
        "clouds": random.normal(size=(5000, 4)) + 3.0 * random.integers(0, 3, (5000, 1)),
        # a covariance that is singular but for what is added to it
        "one line": random.normal(size=(300, 1)) * np.array([1.0, -2.0, 0.0]),
        "far away": 1e3 + 1e-2 * random.normal(size=(200, 2)),
    }
    return kinds[kind]


@pytest.mark.parametrize("kind", ["clouds", "one line", "far away"])
@pytest.mark.parametrize("components", [1, 5])
def test_it_is_the_mixture_of_scikit_learn(kind: str, components: int) -> None:
    points = points_of(kind)
    peer = GaussianMixture(
        components, tol=TOLERANCE, max_iter=MOST_STEPS, reg_covar=REGULARIZATION, random_state=3
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        peer.fit(points)
    found = fit_gaussians(torch.from_numpy(points), components, 3)
    np.testing.assert_allclose(found.weights, peer.weights_, rtol=1e-6)
    np.testing.assert_allclose(found.means, peer.means_, rtol=1e-6)
    covariances = found.factors @ found.factors.mT
    np.testing.assert_allclose(covariances, peer.covariances_, rtol=1e-5, atol=1e-9)
    density = found.log_prob(torch.from_numpy(points)).numpy()
    np.testing.assert_allclose(density, peer.score_samples(points), rtol=1e-6, atol=1e-5)


def test_points_that_are_all_alike_have_the_least_variance() -> None:
    found = fit_gaussians(torch.ones(20, 2, dtype=torch.float64), 2, 0)
    at_the_point = found.log_prob(torch.ones(1, 2, dtype=torch.float64))
    assert at_the_point.item() == pytest.approx(-math.log(2 * math.pi * REGULARIZATION), rel=1e-6)
