"""How far figures can be trusted: errors over images and over judges, and of the worst of many.

A figure that rests on a judge has two errors. One is that of the images: others would give another
figure. The other is that of the judge: one trained from another seed says something else of the
same images, the same to all of them, so that more images do not help. A figure is therefore the
mean over J judges, and its standard error is

    sqrt(sampling^2 + s^2 / J),

where ``sampling`` is the error of that mean over images, as if the judges were given, and s the
deviation between judges. Part of s is the images' doing and counted twice; J being small, s itself
is known to about a third. Judges of one kind have errors in common: another kind of network may be
farther off than s. Models that were judged by the same ensemble differ by less than their errors
say, since what the judges do to both is then alike.

Legend: N images, J judges, L labels, D draws.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from distvae.draws.philox import Stream
from distvae.draws.sequence import Numbers

ERROR = "_standard_error"
BETWEEN = "_between_judges"
DRAWS = 2000


class Estimate(NamedTuple):
    """A figure under each of J judges, or a single one where there are none."""

    values: tuple[float, ...]
    sampling: float
    """Standard error of their mean over images, the judges given; NaN where it is not known."""

    @property
    def value(self) -> float:
        """The mean over judges."""
        return math.fsum(self.values) / len(self.values)

    @property
    def between(self) -> float:
        """Standard deviation between judges; 0 of a single value."""
        return float(np.std(self.values, ddof=1)) if len(self.values) > 1 else 0.0

    @property
    def error(self) -> float:
        """Standard error of the mean, over images and judges."""
        return math.hypot(self.sampling, self.between / math.sqrt(len(self.values)))


def estimate_metrics(name: str, found: Estimate) -> Iterator[tuple[str, float]]:
    """``NAME`` and ``NAME_standard_error``, where there is one.

    Of all images and several judges also ``NAME_between_judges``, the deviation of one judge's
    figure.
    """
    yield name, found.value
    if math.isfinite(found.error):
        yield name + ERROR, found.error
    if len(found.values) > 1 and "/" not in name:
        yield name + BETWEEN, found.between


def share_error(variance: float, count: int) -> float:
    """Standard error of a share: the binomial one, widened as Wilson's score interval is.

    Where all of a few images are right, this is not 0, as the binomial error would be.

    Args:
        variance: of the hits; ``p (1 - p)`` where each is 0 or 1.
        count: of the images.
    """
    return math.sqrt(variance / count + 0.25 / count**2)


def share(hits: Tensor) -> Estimate:
    """The share of hits, bool ``[N, J]``, whose error over images is that of their mean hits."""
    found = hits.double()
    variance = float(found.mean(1).var(correction=0))
    return Estimate(tuple(found.mean(0).tolist()), share_error(variance, len(found)))


def mean_of(values: Tensor) -> Estimate:
    """The mean of values ``[N]``, such as those of N images; its error needs two of them."""
    found = values.double()
    error = float(found.std()) / math.sqrt(len(found)) if len(found) > 1 else math.nan
    return Estimate((float(found.mean()),), error)


def averaged(parts: Sequence[Estimate]) -> Estimate:
    """The mean of figures of different images, such as those of the labels, under equal weight."""
    values = np.mean([part.values for part in parts], axis=0).tolist()
    return Estimate(tuple(values), math.hypot(*(part.sampling for part in parts)) / len(parts))


def pooled(found: Sequence[Mapping[str, float]]) -> dict[str, Estimate]:
    """Figures of the same images under each judge, as one of each name that all of them have.

    Args:
        found: of each judge, names with their ``_standard_error``, where there is one.
    """
    names = [name for name in found[0] if not name.endswith(ERROR)]
    estimates = {}
    for name in names:
        if all(name in each for each in found):
            errors = [each.get(name + ERROR, math.nan) for each in found]
            sampling = math.sqrt(math.fsum(error**2 for error in errors) / len(errors))
            estimates[name] = Estimate(tuple(each[name] for each in found), sampling)
    return estimates


def named_metrics(found: Mapping[str, Estimate]) -> Iterator[tuple[str, float]]:
    """Those of every figure by its name, see :func:`estimate_metrics`."""
    for name, estimate in found.items():
        yield from estimate_metrics(name, estimate)


def spread_metrics(
    name: str, by_label: Sequence[Estimate], seed: int = 0
) -> Iterator[tuple[str, float]]:
    """``NAME_spread``, what the best of the labels is above the worst, with its error."""
    yield from _extreme(f"{name}_spread", by_label, lambda x: np.ptp(x, axis=-1), seed)


def worst_metrics(
    name: str, by_label: Sequence[Estimate], seed: int = 0
) -> Iterator[tuple[str, float]]:
    """The label served worst: ``NAME_worst_label``, and how surely it is the one.

    ``NAME_worst_label_certainty`` is the share of draws in which the same label is the worst.
    """
    yield from _extreme(f"{name}_worst_label", by_label, lambda x: x.min(axis=-1), seed)
    values, draws = drawn(by_label, seed)
    certain = (draws.argmin(1) == values.argmin()).mean()
    yield f"{name}_worst_label_certainty", float(certain)


def _extreme(
    name: str,
    by_label: Sequence[Estimate],
    of: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    seed: int,
) -> Iterator[tuple[str, float]]:
    """An extreme over labels, less the bias of having been chosen for its value.

    The worst of many labels looks worse than it is, since chance has a part in being the worst. The
    bootstrap says how much farther out the extreme of redrawn figures lies than that of the figures
    they are drawn from; by as much this one is put right (Efron and Tibshirani 1993, section 10.2),
    but never outward, nor farther than if all labels were alike.
    """
    values, draws = drawn(by_label, seed)
    found, again = float(of(values)), of(draws)
    corrected = 2.0 * found - float(again.mean())
    alike = float(of(np.full_like(values, values.mean())))
    if not math.isfinite(corrected):  # a label of a single image
        yield name, found
        return
    yield name, min(max(corrected, min(found, alike)), max(found, alike))
    yield name + ERROR, float(again.std())


def drawn(
    by_label: Sequence[Estimate], seed: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The labels' figures ``[L]``, and as other images and judges might have given them ``[D, L]``.

    A draw takes as many of the judges, with replacement and for all labels the same, and moves each
    label's mean by a normal number of the size of its error over images.
    """
    values = np.array([each.values for each in by_label])
    numbers = Numbers(seed, Stream.BOOTSTRAP)
    judges = values.shape[1]
    chosen = numbers.integers(0, judges, (DRAWS, judges))
    means = values.mean(1)
    moved = values[:, chosen].mean(2).T - means
    # so few redrawn judges differ by less than judges do
    moved *= math.sqrt(judges / max(1, judges - 1))
    sampling = np.array([each.sampling for each in by_label])
    noise = numbers.normals((DRAWS, len(by_label)))
    return means, means + moved + sampling * noise
