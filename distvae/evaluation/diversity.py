"""How much generated images of a label vary, against how much real ones do.

Legend: N images, C channels, H height, W width.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from distvae.data.batches import ResidentImages
from distvae.data.inputs import to_input
from distvae.evaluation.judge import Judge, shrink

COMPARED = 500
"""Images of a label among which distances are taken, at most."""


class Ratio(NamedTuple):
    """A quotient of two estimates."""

    value: float
    error: float
    """Standard error."""


def diversity(
    generated: Tensor, test: ResidentImages, label: int, judge: Judge
) -> tuple[Ratio, Ratio] | None:
    """Spread of generated over that of real images of a label, in features and in pixels.

    None where the real ones are too few or all alike.

    Args:
        generated: ``[N, C, H, W]`` in [0, 1], asked of the label.
        test: the test split.
        label: of all these images.
        judge: of the same data; what it takes for another label does not count.
    """
    drawn, held = (
        _spreads(images, label, judge) for images in (generated, _real_images(test, label))
    )
    if not all(spread.value for spread in held):
        return None
    features, pixels = (_over(*pair) for pair in zip(drawn, held, strict=True))
    return features, pixels


def _spreads(images: Tensor, label: int, judge: Judge) -> tuple[Ratio, Ratio]:
    """Mean distance in features and in pixels between images that the judge takes for the label."""
    features = judge.features(images)
    rows = evenly((judge.label(features) == label).nonzero().flatten(), COMPARED)
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


def diversity_metrics(found: dict[str, tuple[Ratio, Ratio]]) -> Iterator[tuple[str, float]]:
    """Means over labels, and each label's.

    Args:
        found: of each label by name, in features and in pixels.

    Yields:
        ``diversity``, ``diversity_pixels``, ``diversity/NAME``, each with its ``_standard_error``,
        and ``diversity_spread`` from the best label to the worst.
    """
    if not found:
        return
    for name, ratios in zip(
        ("diversity", "diversity_pixels"), zip(*found.values(), strict=True), strict=True
    ):
        yield name, sum(ratio.value for ratio in ratios) / len(ratios)
        yield f"{name}_standard_error", math.hypot(*(ratio.error for ratio in ratios)) / len(ratios)
    features = {name: ratio for name, (ratio, _) in found.items()}
    for name, ratio in features.items():
        yield f"diversity/{name}", ratio.value
        yield f"diversity/{name}_standard_error", ratio.error
    values = [ratio.value for ratio in features.values()]
    yield "diversity_spread", max(values) - min(values)


def _real_images(test: ResidentImages, label: int) -> Tensor:
    """Some test images of a label ``[B, C, H, W]`` in [0, 1], taken evenly."""
    assert test.labels is not None
    rows = evenly((test.labels == label).nonzero().flatten(), COMPARED)
    return to_input(test.gather(rows)[0], "none", None)


def evenly(rows: Tensor, most: int) -> Tensor:
    """At most so many rows, evenly spaced."""
    return rows[:: max(1, -(-len(rows) // most))]
