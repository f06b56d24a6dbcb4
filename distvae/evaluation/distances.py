"""How far generated images are from real ones: FID, KID, inception score, precision and recall.

What they are called says whose features they rest on: ``fid`` with Inception's, ``fid_judge`` with
the judge's. The two cannot be compared, nor can figures of different data or numbers of images.

Legend: N images of one kind, M of another, F features, K classes.
"""

import math
import statistics
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from distvae.blocks import fitting, for_doubles, joined
from distvae.data.batches import ResidentImages
from distvae.data.store import ImageData
from distvae.draws.order import permutation
from distvae.draws.philox import Stream
from distvae.errors import DistvaeError
from distvae.evaluation.asked import asked_like
from distvae.evaluation.features import Extractor, Sampler, extract, real_images, spaced
from distvae.evaluation.passes import Advance, unwatched
from distvae.evaluation.probes import share_metrics
from distvae.evaluation.uncertainty import (
    estimate_metrics,
    mean_of,
    named_metrics,
    pooled,
    spread_metrics,
)

GROUPS = 10
"""Parts of the images that standard errors come from."""
LEAST = 2 * GROUPS
"""Images without which nothing is measured: a part needs two."""
PER_FEATURE = 2
"""Images of a label for each feature, without which it gets no distance of its own: with no more
images than features the covariance is singular."""
NEIGHBOURS = 3
VALUES = 4_000_000
"""Distances held together on a CPU."""
BYTES = 32
"""That a distance takes elsewhere while it is looked at, at most."""
Values = Iterator[tuple[str, float]]


@torch.no_grad()
def distance_metrics(
    model: Sampler,
    data: ImageData,
    extractors: Sequence[Extractor],
    seed: int = 0,
    count: int = 10_000,
    advance: Advance = unwatched,
) -> Values:
    """Distances between as many generated as test images, a conditional model's of their labels.

    Each is also taken between training and test images, which is what real images score: finite
    numbers of images leave a distance between any two sets, and the judge knows the training images
    a little better.

    Args:
        model: in evaluation mode.
        data: the model's.
        extractors: see :func:`distvae.evaluation.features.find_extractors`; of several the mean is
            given, and its error takes in how they differ.
        seed: of the generated images and of the parts that standard errors come from.
        count: test images taken, evenly, at most.
        advance: told the number of images done, up to three times ``count``.

    Yields:
        Under these names with the extractors' suffix, of training images with ``_real`` behind it,
        each followed by its ``_standard_error``, see :mod:`distvae.evaluation.uncertainty`:
        ``fid``: Frechet distance of Gaussians fitted to the features (Heusel et al. 2017); its
        error by a jackknife that leaves out a tenth of both sets, rough near what real images
        score;
        ``kid``: squared maximum mean discrepancy under a cubic kernel (Binkowski et al. 2018), the
        mean of disjoint tenths and its error: 0 on average where both sets are alike, so it may be
        negative;
        ``inception_score``: exp of the information between image and class (Salimans et al. 2016),
        the mean of disjoint tenths and its error; at most K;
        ``precision`` and ``recall``: the share of images within reach of a test image, and of test
        images within reach of one of them, where a reach is the distance to the third neighbour in
        its own set (Kynkaanniemi et al. 2019); the error takes the reaches as given.

        Then of a conditional model ``fid``, ``precision`` and ``recall`` by label, as in
        ``fid_judge/NAME``, and ``fid_spread`` from the best to the worst. Fewer images make a
        distance larger, covariances being estimates: labels with fewer than twice the features are
        left out, of the others equally many are taken, and what is left is told by ``_real``.

    Raises:
        DistvaeError: there are fewer than 20 test images.
    """
    test, train = ResidentImages.from_split(data.test), ResidentImages.from_split(data.train)
    rows = _taken(len(test), count)
    size = len(rows)
    labels = None if test.labels is None else test.labels[rows]
    asked = None
    if model.conditional and labels is not None:
        asked = asked_like(data, data.test, rows.numpy())
    drawn = model.sample_batches(asked, n=size if asked is None else 1, seed=seed)
    alike = _alike(train, labels, size)
    real, generated, other = (
        extract(extractors, batches, advance)
        for batches in (
            real_images(test, model.domain, rows),
            drawn,
            real_images(train, model.domain, alike),
        )
    )
    suffix = extractors[0].suffix
    kinds = [(generated, suffix), (other, f"{suffix}_real")]
    for found, name in kinds[: 2 if len(alike) >= LEAST else 1]:
        figures = [
            dict(_figures(ours, theirs, extractor, name, seed))
            for ours, theirs, extractor in zip(found, real, extractors, strict=True)
        ]
        yield from named_metrics(pooled(figures))
    if asked is None:
        return
    assert labels is not None
    assert train.labels is not None
    for (found, name), own in zip(kinds, (labels, train.labels[alike]), strict=True):
        figures = [
            dict(_by_label(*pair, own, labels, data.label_names, name, seed))
            for pair in zip(found, real, strict=True)
        ]
        by_label = pooled(figures)
        yield from named_metrics(by_label)
        fids = [each for figure, each in by_label.items() if figure.startswith("fid")]
        if fids:
            yield from spread_metrics(f"fid{name}", fids, seed)


def _taken(there: int, count: int) -> Tensor:
    """Numbers of the test images that are taken, evenly, int64.

    Raises:
        DistvaeError: they are too few.
    """
    size = min(count, there)
    if size < LEAST:
        raise DistvaeError(
            f"{size} test images are too few to take distances between",
            f"expected at least {LEAST}",
            "Choose a larger --split-test.",
        )
    return spaced(there, size)


def _alike(train: ResidentImages, labels: Tensor | None, size: int) -> Tensor:
    """Rows of training images, evenly, with the given labels in turn as far as there are any."""
    if labels is None or train.labels is None:
        return spaced(len(train), min(size, len(train)))
    rows = torch.full_like(labels, -1)
    for label in torch.unique(labels):
        own = (train.labels == label).nonzero().flatten()
        places = (labels == label).nonzero().flatten()[: len(own)]
        rows[places] = own[spaced(len(own), len(places))]
    return rows[rows >= 0]


def _figures(features: Tensor, held: Tensor, extractor: Extractor, name: str, seed: int) -> Values:
    found, real = _doubles(features), _doubles(held)
    yield from _fid(f"fid{name}", found, real, seed)
    kernel = mean_of(torch.tensor(kernel_distances(found, real, seed), dtype=torch.float64))
    yield from estimate_metrics(f"kid{name}", kernel)
    logits = extractor.logits(features)
    scores = mean_of(torch.tensor(inception_scores(logits, seed), dtype=torch.float64))
    yield from estimate_metrics(f"inception_score{name}", scores)
    yield from _precision_recall(found, real, name, "")


def _by_label(
    found: Tensor,
    real: Tensor,
    own: Tensor,
    labels: Tensor,
    names: Sequence[str],
    name: str,
    seed: int,
) -> Values:
    """The figures of each label with enough images; ``own [N]`` are labels of ``found [N, F]``."""
    least = max(LEAST, PER_FEATURE * real.shape[1])
    counts = torch.stack([torch.bincount(of, minlength=len(names)) for of in (own, labels)])
    held = [label for label, count in enumerate(counts.amin(0)) if count >= least]
    size = int(counts[:, held].min()) if held else 0
    for label in held:
        pair = [
            _doubles(points[(of == label).nonzero().flatten()[:size].to(points.device)])
            for points, of in ((found, own), (real, labels))
        ]
        yield from _fid(f"fid{name}/{names[label]}", pair[0], pair[1], seed)
        yield from _precision_recall(pair[0], pair[1], name, f"/{names[label]}")


def _fid(name: str, found: Tensor, real: Tensor, seed: int) -> Values:
    """The distance, and its error from leaving out one part of both sets after the other."""
    yield name, frechet_distance(found, real)
    parts = zip(groups(len(found), seed), groups(len(real), seed), strict=True)
    left = [frechet_distance(_without(found, a), _without(real, b)) for a, b in parts]
    yield f"{name}_standard_error", math.sqrt(GROUPS - 1) * statistics.pstdev(left)


def _without(points: Tensor, rows: Tensor) -> Tensor:
    keep = torch.ones(len(points), dtype=torch.bool)
    keep[rows] = False
    return points[keep.to(points.device)]


def groups(size: int, seed: int) -> list[Tensor]:
    """``GROUPS`` disjoint random parts of so many rows; the same of sets of one size."""
    order = torch.from_numpy(permutation(size, seed, Stream.GROUPS))
    return [order[start::GROUPS] for start in range(GROUPS)]


def _doubles(points: Tensor) -> Tensor:
    return points.to(for_doubles(points.device)).double()


def frechet_distance(found: Tensor, real: Tensor) -> float:
    """Squared Frechet distance of Gaussians fitted to points ``[N, F]`` and ``[M, F]`` float64.

    The trace of the root of S T is that of the root of R' T R, symmetric, where S = R R'.
    """
    difference = found.mean(0) - real.mean(0)
    some, other = found.T.cov(), real.T.cov()
    variances, axes = torch.linalg.eigh(some)
    root = axes * variances.clamp_min(0.0).sqrt()
    shared = torch.linalg.eigvalsh(root.T @ other @ root).clamp_min(0.0).sqrt().sum()
    return float(difference.square().sum() + some.trace() + other.trace() - 2.0 * shared)


def kernel_distances(found: Tensor, real: Tensor, seed: int) -> list[float]:
    """Unbiased squared discrepancy of each part of points ``[N, F]`` float64, under a cubic kernel.

    It is the U-statistic of Gretton et al. (2012, lemma 6, eq. 4), which leaves out the pairs of
    points in the same place, too. Such pairs share their label, so that with them two sets would
    meet in one label more often than each meets itself, and seem nearer than they are.
    """
    size = min(len(found), len(real))
    values = []
    for rows in groups(size, seed):
        some, others = found[rows], real[rows]
        crossed = _kernel(some, others)
        total = _kernel(some, some) + _kernel(others, others) - crossed - crossed.T
        values.append(float((total.sum() - total.trace()) / (len(rows) * (len(rows) - 1))))
    return values


def _kernel(some: Tensor, others: Tensor) -> Tensor:
    return (some @ others.T / some.shape[1] + 1.0) ** 3


def inception_scores(logits: Tensor, seed: int) -> list[float]:
    """Exp of the mean KL of p(class|image) to p(class), of each part of logits ``[N, K]``."""
    log_shares = logits.double().log_softmax(1)
    scores = []
    for rows in groups(len(logits), seed):
        own = log_shares[rows]
        mean = own.logsumexp(0) - math.log(len(own))
        scores.append(float((own.exp() * (own - mean)).sum(1).mean().exp()))
    return scores


def _precision_recall(found: Tensor, real: Tensor, name: str, label: str) -> Values:
    for figure, inside in (("precision", covered(found, real)), ("recall", covered(real, found))):
        share = float(inside.double().mean())
        yield from share_metrics(f"{figure}{name}{label}", share, len(inside))


def covered(
    points: Tensor, centres: Tensor, neighbours: int = NEIGHBOURS, values: int = VALUES
) -> Tensor:
    """Whether each point is as near to some centre as that one's k-th nearest fellow is.

    Args:
        points: ``[N, F]`` float64.
        centres: ``[M, F]`` float64.
        neighbours: k.
        values: distances held together on a CPU.

    Returns:
        bool ``[N]``.
    """
    device = points.device
    rows = fitting(BYTES * len(centres), device, max(1, values // len(centres)))

    def reach_of(part: slice) -> Tensor:  # a centre is its own nearest
        distances = torch.cdist(centres[part], centres)
        return distances.topk(neighbours + 1, largest=False).values[:, -1]

    reach = joined(reach_of, len(centres), rows, device)

    def inside(part: slice) -> Tensor:
        return (torch.cdist(points[part], centres) <= reach).any(1)

    return joined(inside, len(points), rows, device)
