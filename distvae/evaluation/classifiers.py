"""Classifiers of points that know no model. No torch.

Legend: N points, M test points, Z dimensions.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Ints = NDArray[np.int64]

PENALTY = 0.002
"""Of half the squared weights of a linear probe, beside its mean loss in nats."""
PROBE_STEPS = 1000
NEIGHBOURS = 10


def linear_probe(train: Floats, labels: Ints, test: Floats) -> Ints:
    """Labels ``[M]`` of test points by a logistic regression on points scaled to variance 1.

    Its weights are held down a little, or those of pixels that are hardly ever lit would run away.

    Args:
        train: ``[N, Z]``.
        labels: theirs, ``[N]``.
        test: ``[M, Z]``.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    regression = LogisticRegression(C=1.0 / (PENALTY * len(train)), max_iter=PROBE_STEPS)
    probe = make_pipeline(StandardScaler(), regression)
    with as_far_as_it_goes():
        result: Ints = probe.fit(train, labels).predict(test)
    return result


def nearest_vote(train: Floats, labels: Ints, test: Floats) -> Ints:
    """Labels ``[M]`` of test points by a vote of the nearest training points, unscaled.

    Args:
        train: ``[N, Z]``.
        labels: theirs, ``[N]``.
        test: ``[M, Z]``.
    """
    from sklearn.neighbors import KNeighborsClassifier

    vote = KNeighborsClassifier(min(NEIGHBOURS, len(train)), algorithm="brute")
    result: Ints = vote.fit(train, labels).predict(test)
    return result


@contextmanager
def as_far_as_it_goes() -> Iterator[None]:
    """No warning of a fit that is not done after all its steps, or finds fewer clusters.

    Latents that hold nothing lead there, and low figures say so.
    """
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield
