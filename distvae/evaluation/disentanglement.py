"""How well single latents tell single factors of variation, where the factors are known.

Legend: N images, C channels, H height, W width, Z latent dimensions, F factors, V votes.

Scores of the posterior means, all between 0 and 1. Each is the mean over ``REPEATS`` draws of
images from the whole grid of factors, with the standard error of that mean: it is the error of the
measurement, and models trained from other seeds differ by far more.
"""

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distvae.data.factors import Factor
from distvae.data.store import ImageData
from distvae.draws.order import permutation
from distvae.draws.philox import Stream
from distvae.draws.sequence import Numbers
from distvae.evaluation.elbo import ACTIVE_VARIANCE
from distvae.evaluation.factor_grid import FactorData
from distvae.evaluation.uncertainty import estimate_metrics, mean_of
from distvae.latents import side_by_side
from distvae.models import VAE

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Encode = Callable[[Tensor, Tensor], Tensor]
"""Images uint8 ``[N, C, H, W]`` and the class of their first factor ``[N]`` to means ``[N, Z]``."""

REPEATS = 5
IMAGES = 15_000
"""Of each draw, fewer where the grid is smaller; two thirds to fit on, one to test on."""
BLOCK = 500
BINS = 20
TREES, LEAF = 10, 10
VOTES, VOTE_IMAGES = 800, 64
TINY = 1e-12


def disentanglement_metrics(model: VAE, data: ImageData, seed: int) -> Iterator[tuple[str, float]]:
    """The scores of a model's posterior means over the grid that its data was split from.

    A conditional model is told the label, the first factor, so that factor is not scored.

    Raises:
        DistvaeError: the factors of the data are not known.
    """
    grid = FactorData.of(data)

    @torch.no_grad()
    def encode(images: Tensor, labels: Tensor) -> Tensor:
        inputs = model.domain.to_values(images.to(model.device))
        given = labels.to(model.device) if model.conditional else None
        return side_by_side(model.means(inputs, model.conditioner.of_label(given)))

    yield from disentanglement_scores(encode, grid, seed, int(model.conditional))


def disentanglement_scores(
    encode: Encode, data: FactorData, seed: int, given: int = 0
) -> Iterator[tuple[str, float]]:
    """The scores of any representation.

    Args:
        encode: the representation.
        data: a grid of images.
        seed: of the draws of images and of the fitted trees.
        given: how many of the first factors are told to the encoder and therefore not scored.

    Yields:
        ``mig`` and ``mig_NAME`` of each factor, ``sap``, ``dci_disentanglement``,
        ``dci_completeness``, ``dci_informativeness`` and ``factor_vae_score``, see the functions
        of these names; after each its ``_standard_error``.
    """
    codes = Codes(encode, data)
    found = [dict(_draw(codes, seed, repeat, given)) for repeat in range(REPEATS)]
    for name in found[0]:
        values = torch.tensor([scores[name] for scores in found], dtype=torch.float64)
        yield from estimate_metrics(name, mean_of(values))


class Codes:
    """Posterior means by row of the grid; every image is encoded at most once.

    Args:
        encode: the representation.
        data: the grid.
    """

    def __init__(self, encode: Encode, data: FactorData) -> None:
        self.data = data
        self._encode = encode
        self._means: Floats | None = None

    def __call__(self, rows: Ints) -> Floats:
        """The means ``[*, Z]`` of the rows ``[*]``."""
        missing = np.unique(rows)
        if self._means is not None:
            missing = missing[np.isnan(self._means[missing, 0])]
        for start in range(0, len(missing), BLOCK):
            chosen = missing[start : start + BLOCK]
            images = torch.from_numpy(self.data.images(chosen))
            labels = torch.from_numpy(self.data.classes(chosen)[:, 0])
            means = self._encode(images, labels).double().cpu().numpy()
            if self._means is None:
                self._means = np.full((len(self.data), means.shape[1]), np.nan)
            self._means[chosen] = means
        assert self._means is not None
        return self._means[rows]


def _draw(codes: Codes, seed: int, repeat: int, given: int) -> Iterator[tuple[str, float]]:
    """Every score on one draw of images."""
    data, factors = codes.data, codes.data.factors[given:]
    rows = permutation(len(data), seed, Stream.CHOICE, repeat)[:IMAGES]
    means, classes = codes(rows), data.classes(rows)[:, given:]
    cut = len(rows) * 2 // 3
    gaps = mutual_information_gaps(means, classes)
    yield "mig", float(gaps.mean())
    for factor, gap in zip(factors, gaps, strict=True):
        yield f"mig_{factor.name}", float(gap)
    yield "sap", sap(means, classes, cut, factors)
    for name, value in dci(means, classes, cut, seed * REPEATS + repeat).items():
        yield f"dci_{name}", value
    numbers = Numbers(seed, Stream.VOTES, repeat)
    yield "factor_vae_score", factor_vae_score(codes, means.var(axis=0), numbers, given)


def mutual_information(codes: Ints, classes: Ints) -> float:
    """Of two discrete variables ``[N]`` each, from their counts, nats."""
    joint = np.zeros((codes.max() + 1, classes.max() + 1))
    np.add.at(joint, (codes, classes), 1.0 / len(codes))
    independent = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)
    seen = joint > 0
    return float((joint[seen] * np.log(joint[seen] / independent[seen])).sum())


def mutual_information_gaps(means: Floats, classes: Ints) -> Floats:
    """The MIG before it is averaged over factors (Chen et al. 2018, arXiv:1802.04942, eq. 6).

    By how much the latent that knows most of a factor knows more of it than the next, as a share of
    the factor's entropy. As is usual for comparisons (Locatello et al. 2019, arXiv:1811.12359) the
    information is that of the means in ``BINS`` equal bins from the least to the largest, and not,
    as in the paper, that of draws from the posterior.

    Args:
        means: ``[N, Z]``.
        classes: ``[N, F]``.

    Returns:
        Shares ``[F]``.
    """
    binned = [np.digitize(latent, np.histogram_bin_edges(latent, BINS)[1:-1]) for latent in means.T]
    gaps = []
    for factor in classes.T:
        known = sorted([0.0, *(mutual_information(latent, factor) for latent in binned)])
        gaps.append((known[-1] - known[-2]) / mutual_information(factor, factor))
    return np.array(gaps)


def sap(means: Floats, classes: Ints, cut: int, factors: Sequence[Factor]) -> float:
    """Separated attribute predictability (Kumar et al. 2018, arXiv:1711.00848, section 3).

    How much better the best single latent predicts a factor than the next best, averaged over
    factors. The prediction of an ordered factor is linear and scored by R^2; that of a categorical
    one is by thresholds on the latent, as many as keep its classes apart, scored by balanced
    accuracy on images that they were not fitted on. Inactive latents predict nothing.

    Args:
        means: ``[N, Z]``.
        classes: ``[N, F]``.
        cut: images before this one are fitted on.
        factors: what the columns of ``classes`` are.
    """
    from sklearn.metrics import balanced_accuracy_score
    from sklearn.tree import DecisionTreeClassifier

    def predictability(latent: Floats, factor: Factor, target: Ints) -> float:
        if latent.var() <= ACTIVE_VARIANCE:
            return 0.0
        if not factor.categorical:
            return float(np.corrcoef(latent, target)[0, 1] ** 2)
        tree = DecisionTreeClassifier(
            max_leaf_nodes=max(2, len(factor.values)), class_weight="balanced", random_state=0
        ).fit(latent[:cut, None], target[:cut])
        return float(balanced_accuracy_score(target[cut:], tree.predict(latent[cut:, None])))

    gaps = []
    for factor, target in zip(factors, classes.T, strict=True):
        best = sorted([0.0, *(predictability(latent, factor, target) for latent in means.T)])
        gaps.append(best[-1] - best[-2])
    return float(np.mean(gaps))


def dci(means: Floats, classes: Ints, cut: int, seed: int) -> dict[str, float]:
    """Disentanglement, completeness, informativeness (Eastwood and Williams 2018, section 2).

    The importance of each latent for each factor is that in a random forest which predicts the
    factor. Disentanglement is one less the entropy of a latent's importances over factors, weighted
    by the latent's share of all importance; completeness one less the entropy of a factor's
    importances over latents; informativeness the forests' accuracy on images they were not fitted
    on.

    Args:
        means: ``[N, Z]``.
        classes: ``[N, F]``.
        cut: images before this one are fitted on.
        seed: of the forests.
    """
    from sklearn.ensemble import RandomForestClassifier

    importances, accuracies = [], []
    for target in classes.T:
        forest = RandomForestClassifier(
            TREES, max_features=None, min_samples_leaf=LEAF, random_state=seed % 2**32
        )
        forest.fit(means[:cut], target[:cut])
        importances.append(forest.feature_importances_)
        accuracies.append(forest.score(means[cut:], target[cut:]))
    table = np.stack(importances, axis=1)
    share = table.sum(axis=1) / max(table.sum(), TINY)
    return {
        "disentanglement": float((share * _concentration(table)).sum()),
        "completeness": float(_concentration(table.T).mean()),
        "informativeness": float(np.mean(accuracies)),
    }


def _concentration(weights: Floats) -> Floats:
    """One less the entropy of each row, as a share of its most; 0 for a row of zeros."""
    total = weights.sum(axis=1, keepdims=True)
    share = weights / np.maximum(total, TINY)
    logs = np.log(share, out=np.zeros_like(share), where=share > 0)
    most = max(math.log(weights.shape[1]), TINY)
    result: Floats = (1.0 + (share * logs).sum(axis=1) / most) * (total[:, 0] > 0)
    return result


def factor_vae_score(codes: Codes, variance: Floats, numbers: Numbers, given: int = 0) -> float:
    """Accuracy of a majority vote (Kim and Mnih 2018, arXiv:1802.05983, section 4).

    ``VOTE_IMAGES`` images share one value of one factor and are random in all others; the active
    latent that varies least among them, by its variance over all images, votes for the factor.
    Each latent stands for the factor it was seen with most often in ``VOTES`` votes; the score is
    how often it is right in as many others. Blind guessing scores 1 / F.

    Args:
        codes: the representation.
        variance: of each latent over all images ``[Z]``.
        numbers: of the images.
        given: how many of the first factors are not asked for.
    """
    active = np.flatnonzero(variance > ACTIVE_VARIANCE)
    if not len(active):
        return 0.0
    sizes = codes.data.sizes
    chosen = numbers.integers(given, len(sizes), (2 * VOTES,))
    counts = np.zeros((len(variance), len(sizes)), np.int64)
    right = 0
    for vote, factor in enumerate(chosen):
        classes = numbers.integers(0, sizes, (VOTE_IMAGES, len(sizes)))
        classes[:, factor] = classes[0, factor]
        means = codes(codes.data.rows(classes))
        latent = active[np.argmin(means[:, active].var(axis=0) / variance[active])]
        if vote < VOTES:
            counts[latent, factor] += 1
        else:
            right += int(counts[latent].argmax() == factor)
    return right / VOTES
