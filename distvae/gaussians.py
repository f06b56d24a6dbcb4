"""A mixture of Gaussians with full covariances, fitted to points by expectation maximization.

What scikit-learn's ``GaussianMixture`` computes (Dempster et al. 1977, begun with the clusters of
k-means), on any device.

Legend: N points, Z dimensions, M components; all in float64.
"""

import math
import warnings
from typing import NamedTuple

import torch
from torch import Tensor

from distvae.blocks import in_blocks, joined
from distvae.distributions import LOG_TWO_PI

BLOCK = 2000
"""Points together on a CPU."""
MOST_STEPS = 200
TOLERANCE = 1e-3
"""Nats by which the mean log-density must still grow in a step, or the fit is done."""
REGULARIZATION = 1e-6
"""Added to every variance, so that a dimension that never changes has one."""


class Gaussians(NamedTuple):
    """The mixture."""

    weights: Tensor
    """``[M]``, their sum is 1."""
    means: Tensor
    """``[M, Z]``."""
    factors: Tensor
    """Lower triangular roots of the covariances ``[M, Z, Z]``."""

    def joint(self, points: Tensor) -> Tensor:
        """Log p(m) + log p(z|m), nats ``[N, M]``, of points ``[N, Z]``."""
        identity = torch.eye(points.shape[1], dtype=points.dtype, device=points.device)
        whitening = torch.linalg.solve_triangular(self.factors, identity, upper=False)
        logs = self.factors.diagonal(dim1=1, dim2=2).log().sum(1)
        constant = self.weights.log() - logs - 0.5 * points.shape[1] * LOG_TWO_PI

        def joint_of(part: slice) -> Tensor:
            squares = [
                ((points[part] - mean) @ inverse.T).square().sum(1)
                for mean, inverse in zip(self.means, whitening, strict=True)
            ]
            return constant - 0.5 * torch.stack(squares, 1)

        return joined(joint_of, len(points), BLOCK, points.device)

    def log_prob(self, points: Tensor) -> Tensor:
        """Nats ``[N]``."""
        return self.joint(points).logsumexp(1)


def fit_gaussians(points: Tensor, components: int, seed: int) -> Gaussians:
    """The mixture that suits points ``[N, Z]`` best, or nearly.

    Args:
        points: at least M.
        components: M.
        seed: of the start.
    """
    fit = _of_shares(points, _clusters(points, components, seed))
    before = -math.inf
    for _ in range(MOST_STEPS):
        joint = fit.joint(points)
        density = joint.logsumexp(1)
        fit = _of_shares(points, (joint - density[:, None]).exp())
        reached = float(density.mean())
        if abs(reached - before) < TOLERANCE:
            break
        before = reached
    return fit


def _of_shares(points: Tensor, shares: Tensor) -> Gaussians:
    """What suits points ``[N, Z]`` best of which each component has these shares ``[N, M]``."""
    counts = shares.sum(0) + 10.0 * torch.finfo(points.dtype).eps
    means = (shares.T @ points) / counts[:, None]

    def spread_of(part: slice) -> Tensor:
        """Sums of the products of offsets from the mean ``[M, Z, Z]``."""
        sums = []
        for share, mean in zip(shares[part].T, means, strict=True):
            offset = points[part] - mean
            sums.append((share[:, None] * offset).T @ offset)
        return torch.stack(sums)

    spreads = means.new_zeros(len(means), *2 * means.shape[1:])
    for spread in in_blocks(spread_of, range(len(points)), BLOCK, points.device):
        spreads += spread
    identity = torch.eye(points.shape[1], dtype=points.dtype, device=points.device)
    covariances = spreads / counts[:, None, None] + REGULARIZATION * identity
    return Gaussians(counts / counts.sum(), means, torch.linalg.cholesky(covariances))


def _clusters(points: Tensor, components: int, seed: int) -> Tensor:
    """To which cluster of k-means each point belongs, 0 or 1 ``[N, M]``."""
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # of points that are all alike
        found = KMeans(components, n_init=1, random_state=seed).fit(points.cpu().numpy()).labels_
    labels = torch.from_numpy(found).long().to(points.device)
    return torch.nn.functional.one_hot(labels, components).to(points.dtype)
