"""How much generated images of a label vary, against how much real ones do.

Legend: N images, C channels, H height, W width.
"""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from distvae.data.batches import ResidentImages
from distvae.domains import Domain
from distvae.evaluation.judge import Judge, shrink
from distvae.evaluation.uncertainty import Estimate, averaged, estimate_metrics, spread_metrics
from distvae.places import spaced

COMPARED = 500
"""Images of a label among which distances are taken, at most."""


class Ratio(NamedTuple):
    """A quotient of two estimates."""

    value: float
    error: float
    """Standard error."""


def diversity(
    generated: Tensor, test: ResidentImages, label: int, judges: Sequence[Judge], domain: Domain
) -> tuple[Estimate, Estimate] | None:
    """Spread of generated over that of real images of a label, in features and in pixels.

    None where the real ones are too few or all alike, to any of the judges.

    Args:
        generated: what a model drew ``[N, *S]``, asked of the label.
        test: the test split.
        label: of all these images.
        domain: of both.
        judges: of the same data; what one takes for another label does not count under it.
    """
    real = _real_images(test, label, domain)
    found: list[tuple[Ratio, Ratio]] = []
    for judge in judges:
        drawn, held = (_spreads(images, label, judge) for images in (generated, real))
        if not all(spread.value for spread in held):
            return None
        found.append((_over(drawn[0], held[0]), _over(drawn[1], held[1])))
    features, pixels = zip(*found, strict=True)
    return _together(features), _together(pixels)


def _together(ratios: Sequence[Ratio]) -> Estimate:
    """The mean over judges, who see the same images."""
    error = math.sqrt(math.fsum(ratio.error**2 for ratio in ratios) / len(ratios))
    return Estimate(tuple(ratio.value for ratio in ratios), error)


def _spreads(images: Tensor, label: int, judge: Judge) -> tuple[Ratio, Ratio]:
    """Mean distance in features and in pixels between images that the judge takes for the label."""
    features = judge.features(images)
    rows = (judge.label(features) == label).nonzero().flatten()
    rows = rows[spaced(len(rows), COMPARED)]
    return spread(features[rows]), spread(shrink(images[rows]))


def spread(points: Tensor) -> Ratio:
    """Mean distance between two different rows of ``[N, ...]``; 0 for fewer than two rows.

    Its error is that of the jackknife, which leaves out one row after the other.
    """
    size = len(points)
    if size < 3:
        return Ratio(functional.pdist(points.flatten(1)).sum().item(), 0.0)
    flat = points.flatten(1)
    reach = torch.cdist(flat, flat, compute_mode="donot_use_mm_for_euclid_dist").double().sum(1)
    total = reach.sum() / 2.0
    left = (total - reach) / ((size - 1) * (size - 2) / 2.0)
    error = ((size - 1) / size * (left - left.mean()).square().sum()).sqrt()
    return Ratio(float(total / (size * (size - 1) / 2.0)), float(error))


def _over(drawn: Ratio, held: Ratio) -> Ratio:
    value = drawn.value / held.value
    return Ratio(value, math.hypot(drawn.error, value * held.error) / held.value)


def diversity_metrics(
    found: dict[str, tuple[Estimate, Estimate]], seed: int
) -> Iterator[tuple[str, float]]:
    """Means over labels, and each label's.

    Args:
        found: of each label by name, in features and in pixels.
        seed: of the bootstrap.

    Yields:
        ``diversity``, ``diversity_pixels``, ``diversity/NAME`` and ``diversity_spread`` from the
        best label to the worst, as :func:`distvae.evaluation.uncertainty.estimate_metrics` and
        ``spread_metrics`` have them.
    """
    if not found:
        return
    features, pixels = zip(*found.values(), strict=True)
    yield from estimate_metrics("diversity", averaged(features))
    yield from estimate_metrics("diversity_pixels", averaged(pixels))
    for name, estimate in zip(found, features, strict=True):
        yield from estimate_metrics(f"diversity/{name}", estimate)
    yield from spread_metrics("diversity", features, seed)


def _real_images(test: ResidentImages, label: int, domain: Domain) -> Tensor:
    """Some test images of a label as a model would draw them ``[B, *S]``, taken evenly."""
    assert test.labels is not None
    rows = (test.labels == label).nonzero().flatten()
    rows = rows[spaced(len(rows), COMPARED)]
    return domain.to_values(test.gather(rows)[0])
