"""The space in which a model's prior is even: the way from examples into it, and back.

Paths, traversals and planes are drawn in it. It is computed with a model's weights, or by its
exported files without torch.

Legend: N examples, R rows, D coordinates, S the axes of an example, A attributes.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from distvae.attribute_values import Values
from distvae.places import evenly
from distvae.tools.examples import Examples

MOST = 2000
"""Examples that are measured, taken evenly."""
Points = NDArray[np.float64]
"""``[R, D]``."""


class Located(NamedTuple):
    """Examples and where they are."""

    points: Points
    """Coordinates of the posterior means ``[N, D]``."""
    given: Values | None
    """What the model is given of each ``[N, A]``; None of one that is given nothing."""
    stored: NDArray[Any]
    """``[N, *S]``."""
    rows: NDArray[np.int64]
    """Their numbers ``[N]``."""


class Made(NamedTuple):
    """What a model makes of points."""

    stored: NDArray[Any]
    """As examples are stored ``[R, *S]``."""
    values: NDArray[np.float32]
    """As the model sees them ``[R, *S]``."""


class Rates(NamedTuple):
    """How much of examples each coordinate carries."""

    nats: NDArray[np.float64] | None
    """Mean KL of posterior to prior ``[D]``; None where exported files do not tell it."""
    means: Points
    """Coordinates of the posterior means ``[N, D]``."""
    exact: bool
    """Whether the rate is in closed form; else it is that of a Gaussian with the moments of draws,
    against N(0, 1)."""


class Space(ABC):
    """Coordinates for the examples of a model, and examples for coordinates."""

    told: str
    """What it is, for people."""
    names: tuple[str, ...]
    """Of the coordinates, D."""

    @abstractmethod
    def located(self, examples: Examples, seed: int = 0) -> Located:
        """Where the posterior means of examples are; those that cannot be read are left out.

        Args:
            examples: a few of them.
            seed: of the noise that finds unknown labels.
        """

    @abstractmethod
    def of_noise(self, noise: NDArray[np.float32], given: Values | None) -> Points:
        """Where the model draws the examples of some noise ``[R, noise_dim]``."""

    @property
    @abstractmethod
    def noise_dim(self) -> int:
        """Numbers of the noise of an example."""

    @abstractmethod
    def made(self, points: Points, given: Values | None) -> Made:
        """What the model makes of points.

        Args:
            points: ``[R, D]``.
            given: of each, or one row for all ``[1, A]``.
        """

    @abstractmethod
    def quantiles(self, shares: Sequence[float], given: Values | None) -> Points:
        """Where the prior has so much below, along each coordinate ``[len(shares), D]``."""

    @abstractmethod
    def along(
        self, axis: NDArray[np.float64], shares: Sequence[float], given: Values | None
    ) -> NDArray[np.float64]:
        """The same along a direction ``[D]`` of length 1 ``[len(shares)]``."""

    @abstractmethod
    def rates(self, examples: Examples) -> Rates:
        """How much of examples each coordinate carries, by at most ``MOST`` of them."""

    def over(
        self, axes: NDArray[np.float64], shares: NDArray[np.float64], given: Values | None
    ) -> Points:
        """Points of a plane through the middle ``[n * n, D]``: the first axis changes faster.

        Args:
            axes: directions ``[2, D]``.
            shares: of the prior below each step ``[n]``.
            given: of the prior ``[1, A]``.
        """
        first, second = (self.along(axis, shares.tolist(), given) for axis in axes)
        across, up = np.meshgrid(first, second)
        points = across[..., None] * axes[0] + up[..., None] * axes[1]
        whole: Points = points.reshape(-1, axes.shape[1])
        return whole


def some(examples: Examples) -> Examples:
    """At most ``MOST`` of some examples."""
    if len(examples) <= MOST:
        return examples
    return examples.only(evenly(len(examples), MOST))


def normal_quantiles(shares: Sequence[float]) -> NDArray[np.float64]:
    """Where N(0, 1) has so much below."""
    return np.array([NormalDist().inv_cdf(share) for share in shares])
