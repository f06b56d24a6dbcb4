"""Unsupervised disentanglement ranking: how alike models are that differ in their seed alone.

Duan et al. 2020, arXiv:1905.12614. A model that found the factors of the data is found again from
another seed, up to the order and the signs of its latents; one that mixed them did it otherwise.

Legend: M models, N examples, Z latents.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
INFORMATIVE = 0.01
"""Nats of a latent's rate above which it counts, as in the paper."""


class Encoded(NamedTuple):
    """What a model makes of examples that all models have seen."""

    means: Floats
    """Of the posteriors ``[N, Z]``, in coordinates in which the prior is even."""
    rates: Floats
    """Mean rate of each latent ``[Z]``, nats."""


def udr(models: Sequence[Encoded]) -> list[float]:
    """The score of each model ``[M]``, between 0 and 1: the median over the other models.

    The similarity of two latents is the size of their rank correlation (Spearman). A pair of models
    scores 1 where each informative latent of one is one of the other, and is like no other.

    Args:
        models: at least two, which differ in their seed alone, on the same examples.
    """
    ranked = [_standardized(_ranks(_informative(model))) for model in models]
    scores = np.full((len(models), len(models)), np.nan)
    for first in range(len(models)):
        for second in range(first):
            similarity = np.abs(ranked[first].T @ ranked[second])
            scores[first, second] = scores[second, first] = pair_score(similarity)
    return [float(np.nanmedian(row)) for row in scores]


def pair_score(similarity: Floats) -> float:
    """How far the latents of two models match one to one.

    Args:
        similarity: of the informative latents of one with those of the other, 0 to 1.
    """
    if not similarity.size:
        return 0.0
    matched = [
        (best**2 / np.maximum(whole, 1e-12)).sum()
        for best, whole in ((similarity.max(side), similarity.sum(side)) for side in (0, 1))
    ]
    return float(sum(matched) / sum(similarity.shape))


def _informative(model: Encoded) -> Floats:
    chosen: Floats = model.means[:, model.rates > INFORMATIVE]
    return chosen


def _ranks(values: Floats) -> Floats:
    """Ranks of every column, equal values at the mean of theirs."""
    ranks = np.empty(values.shape)
    for column, numbers in enumerate(values.T):
        _, where, counts = np.unique(numbers, return_inverse=True, return_counts=True)
        ends = np.cumsum(counts)
        ranks[:, column] = (ends - (counts - 1) / 2.0)[where]
    return ranks


def _standardized(values: Floats) -> Floats:
    """Columns of mean 0 and length 1; a constant one is 0."""
    centred = values - values.mean(0)
    lengths = np.linalg.norm(centred, axis=0)
    result: Floats = centred / np.where(lengths > 0.0, lengths, 1.0)
    return result
