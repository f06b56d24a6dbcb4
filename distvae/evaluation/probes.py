"""Clusters of points that know no model, and how right these and classifiers are.

Legend: N points, M test points, Z dimensions.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from distvae.draws.philox import Stream
from distvae.draws.sequence import Numbers
from distvae.evaluation.classifiers import Floats, Ints, as_far_as_it_goes
from distvae.evaluation.uncertainty import (
    Estimate,
    estimate_metrics,
    share_error,
    spread_metrics,
)

Bools = NDArray[np.bool_]

CLUSTERINGS, STARTS = 20, 5


def principal_components(train: Floats, test: Floats, count: int) -> tuple[Floats, Floats]:
    """Principal components of training points, of these ``[N, C]`` and of test points ``[M, C]``.

    Args:
        train: ``[N, Z]``.
        test: ``[M, Z]``.
        count: how many; C is this, or as many as there are.
    """
    centre = train.mean(0, dtype=np.float64)
    centred = train - centre
    _, axes = np.linalg.eigh(centred.T @ centred)
    kept = axes[:, ::-1][:, : min(count, len(train))]
    return centred @ kept, (test - centre) @ kept


def cluster_metrics(
    codes: Floats, labels: Ints, clusters: int, seed: int, runs: int = CLUSTERINGS
) -> Iterator[tuple[str, float]]:
    """How well clusters that know no labels agree with them.

    Args:
        codes: ``[N, Z]``.
        labels: ``[N]``.
        clusters: how many k-means looks for.
        seed: of the runs.
        runs: of k-means.

    Yields:
        ``ari``, the adjusted Rand index, and ``nmi``, normalized mutual information: 1 where
        clusters are labels, 0 (ARI: on average) where they have nothing to do with each other.
        Each is the mean of the runs of k-means, the best of ``STARTS`` starts, every
        run on as many images drawn from all with replacement. The ``_standard_error`` is the
        deviation between runs: of images and starts, so that of a single run.
    """
    from sklearn.cluster import KMeans
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

    scores = []
    numbers = Numbers(seed, Stream.CLUSTERS)
    for _ in range(runs):
        rows = numbers.integers(0, len(codes), (len(codes),))
        kmeans = KMeans(
            min(clusters, len(rows)), n_init=STARTS, random_state=int(numbers.integers(0, 2**32))
        )
        with as_far_as_it_goes():
            found = kmeans.fit_predict(codes[rows])
        pair = labels[rows], found
        scores.append((adjusted_rand_score(*pair), normalized_mutual_info_score(*pair)))
    for name, values in zip(("ari", "nmi"), np.array(scores).T, strict=True):
        yield name, float(values.mean())
        yield f"{name}_standard_error", float(values.std(ddof=1))


def accuracy_metrics(
    name: str, hits: Bools, labels: Ints, label_names: Sequence[str], seed: int
) -> Iterator[tuple[str, float]]:
    """An accuracy, in all and by label.

    Args:
        name: of the figure.
        hits: whether an image was labelled rightly ``[N]``.
        labels: its own ``[N]``.
        label_names: of these labels.
        seed: of the bootstrap.

    Yields:
        ``NAME`` and ``NAME/LABEL`` of each label that has images, see :func:`share_metrics`;
        ``NAME_spread``, the label served best less the one served worst, see
        :func:`distvae.evaluation.uncertainty.spread_metrics`.
    """
    yield from share_metrics(name, float(hits.mean()), len(hits))
    by_label = []
    for number, label_name in enumerate(label_names):
        own = hits[labels == number]
        if len(own):
            by_label.append(estimate := _binomial(float(own.mean()), len(own)))
            yield from estimate_metrics(f"{name}/{label_name}", estimate)
    yield from spread_metrics(name, by_label, seed)


def share_metrics(name: str, share: float, count: int) -> Iterator[tuple[str, float]]:
    """``NAME``, a share of so many, and its ``_standard_error``."""
    yield from estimate_metrics(name, _binomial(share, count))


def _binomial(share: float, count: int) -> Estimate:
    return Estimate((share,), share_error(share * (1.0 - share), count))
