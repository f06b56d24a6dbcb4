"""How well a score tells anomalies from usual examples. Needs numpy only.

Legend: N scores of anomalies, M scores of usual examples; the higher, the stranger.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from distvae.errors import DistvaeError

DETECTED = 0.95
"""Share of anomalies whose price in false alarms is told."""
Values = NDArray[np.floating]


class Detection(NamedTuple):
    """Figures of one score."""

    auroc: float
    """How often an anomaly lies above a usual example; ties count half."""
    error: float
    """Its standard error over the examples (DeLong et al. 1988)."""
    auprc: float
    """Average precision: the mean over anomalies of the share of anomalies at and above them."""
    false_alarms: float
    """Share of usual examples at or above the score that :data:`DETECTED` of anomalies reach."""


def detection(anomalies: Values, usual: Values) -> Detection:
    """The figures of scores ``[N]`` and ``[M]``.

    Raises:
        DistvaeError: one of the two is empty, or a score is no number.
    """
    for name, values in (("anomalies", anomalies), ("usual examples", usual)):
        if not len(values):
            raise DistvaeError(f"there are no {name}", "expected at least one to tell apart")
        if np.isnan(values).any():
            raise DistvaeError(f"a score of the {name} is not a number", "expected no NaN")
    above = _beaten(anomalies, usual)
    outdone = 1.0 - _beaten(usual, anomalies)
    variance = sum(
        float(each.var(ddof=1)) / len(each) for each in (above, outdone) if len(each) > 1
    )
    order = np.sort(anomalies)[::-1]
    reached = order[math.ceil(DETECTED * len(order)) - 1]
    return Detection(
        float(above.mean()),
        math.sqrt(variance),
        _average_precision(anomalies, usual),
        float((usual >= reached).mean()),
    )


def percentiles(scores: Values, held_out: Values) -> NDArray[np.float64]:
    """Percent of held-out scores that lie below each score ``[N]``; ties count half."""
    return 100.0 * _beaten(scores, held_out)


def _beaten(values: Values, others: Values) -> NDArray[np.float64]:
    """Share of the others that lie below each value, ties counted half."""
    ranked = np.sort(others)
    below = np.searchsorted(ranked, values, "left") + np.searchsorted(ranked, values, "right")
    share: NDArray[np.float64] = below / (2.0 * len(others))
    return share


def _average_precision(anomalies: Values, usual: Values) -> float:
    """Precision at each score that an anomaly has, weighted by how many have it."""
    found, counts = np.unique(anomalies, return_counts=True)
    true = len(anomalies) - np.searchsorted(np.sort(anomalies), found, "left")
    false = len(usual) - np.searchsorted(np.sort(usual), found, "left")
    return float((counts * true / (true + false)).sum() / len(anomalies))
