"""The space in which a model's prior is even: where paths and planes are drawn.

A prior or space of latents that has a noise for every latent gives it. A mixture has none that is
continuous: there the space is that of the latents, measured by the prior's own mean and deviation.

Legend: R rows, Z latents, D coordinates, K draws.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distvae.conditions import Context
from distvae.draws.normals import standard_normal
from distvae.errors import DistvaeError
from distvae.latents import Latents
from distvae.models import VAE
from distvae.tools.space import normal_quantiles

DRAWS = 8192
"""Of the prior, where it is known by them alone."""
SMALLEST = 1e-6
"""Deviation of a latent."""


class Whitened(ABC):
    """A space of coordinates ``[R, D]`` for the latents of a model."""

    told: str
    """What it is, for people."""
    names: tuple[str, ...]
    """Of the coordinates, D."""
    by_dimension = True
    """Whether the rates of the model are of these coordinates, one each."""

    @abstractmethod
    def of(self, latents: Latents, context: Context | None) -> Tensor:
        """Coordinates ``[R, D]`` of latents."""

    @abstractmethod
    def latents(self, coordinates: Tensor, context: Context | None) -> Latents:
        """The latents at some coordinates ``[R, D]``."""

    @abstractmethod
    def quantiles(self, shares: Sequence[float], context: Context | None) -> NDArray[np.float64]:
        """Where the prior has so much below, along each coordinate ``[len(shares), D]``."""

    @abstractmethod
    def along(
        self, axis: NDArray[np.float64], shares: Sequence[float], context: Context | None
    ) -> NDArray[np.float64]:
        """Where the prior has so much below, along a direction ``[D]`` of length 1."""


def whitened(model: VAE) -> Whitened:
    """The space of a model.

    Raises:
        DistvaeError: it has several levels of latents, or maps, without a noise for each latent.
    """
    return _OfNoise(model) if model.latents.invertible else _OfMoments(model)


class _OfNoise(Whitened):
    """The noise that the prior turns into the latents: N(0, I)."""

    def __init__(self, model: VAE) -> None:
        self._latents = model.latents
        kind = model.config.prior
        self.told = "latents, whose prior is N(0, I)"
        if kind != "normal":
            self.told = f"the noise that the prior ({kind}) turns into latents"
        levels = model.latents.levels
        if sum(level.size for level in levels) != model.latents.noise_dim:
            self.names = tuple(map(str, range(model.latents.noise_dim)))
        elif len(levels) == 1:
            self.names = tuple(map(str, range(levels[0].size)))
        else:
            self.names = tuple(
                f"{level.name}.{place}" for level in levels for place in range(level.size)
            )

    def of(self, latents: Latents, context: Context | None) -> Tensor:
        """By the prior's own map."""
        return self._latents.whiten(latents, context)

    def latents(self, coordinates: Tensor, context: Context | None) -> Latents:
        """By the prior's own map."""
        return self._latents.draw(coordinates, context)

    def quantiles(self, shares: Sequence[float], context: Context | None) -> NDArray[np.float64]:
        """Those of the standard normal."""
        return np.repeat(normal_quantiles(shares)[:, None], len(self.names), 1)

    def along(
        self, axis: NDArray[np.float64], shares: Sequence[float], context: Context | None
    ) -> NDArray[np.float64]:
        """Those of the standard normal."""
        return normal_quantiles(shares)


class _OfMoments(Whitened):
    """The latents, less the prior's mean and divided by its deviation, both of each latent."""

    by_dimension = False

    def __init__(self, model: VAE) -> None:
        levels = model.latents.levels
        if any(level.kind == "code" for level in levels):
            raise DistvaeError(
                "this model has no plain space of latents",
                "they are codes of a book, and between two codes is nothing",
                "Take a model of Gaussian latents.",
            )
        if len(levels) != 1 or len(levels[0].shape) != 1:
            raise DistvaeError(
                "this model has no plain space of latents",
                f"the prior {model.config.prior} of its levels has no noise for each latent",
                "Take a model of one vector of latents.",
            )
        self._model = model
        self.names = tuple(map(str, range(levels[0].size)))
        self.told = (
            f"latents, measured by the prior's mean and deviation of each: the prior "
            f"({model.config.prior}) has no continuous map to N(0, I)"
        )
        noise = torch.from_numpy(standard_normal(0, 0, DRAWS, model.latents.noise_dim))
        self._noise = noise.to(model.device)
        self._known: dict[tuple[float, ...], Tensor] = {}

    def of(self, latents: Latents, context: Context | None) -> Tensor:
        """Standardized."""
        mean, scale = self._moments(context, len(latents[0]))
        return (latents[0] - mean) / scale

    def latents(self, coordinates: Tensor, context: Context | None) -> Latents:
        """Back in their own units."""
        mean, scale = self._moments(context, len(coordinates))
        return (mean + scale * coordinates.to(mean.dtype),)

    def quantiles(self, shares: Sequence[float], context: Context | None) -> NDArray[np.float64]:
        """Those of draws, each coordinate by itself; of the first of several contexts."""
        result: NDArray[np.float64] = np.quantile(self._standard(context), shares, axis=0)
        return result

    def along(
        self, axis: NDArray[np.float64], shares: Sequence[float], context: Context | None
    ) -> NDArray[np.float64]:
        """Those of draws."""
        result: NDArray[np.float64] = np.quantile(self._standard(context) @ axis, shares)
        return result

    def _standard(self, context: Context | None) -> NDArray[np.float64]:
        """Draws as coordinates ``[K, D]``."""
        drawn = self._draws(context, 0)
        mean, scale = drawn.mean(0), drawn.std(0).clamp_min(SMALLEST)
        result: NDArray[np.float64] = ((drawn - mean) / scale).double().cpu().numpy()
        return result

    def _moments(self, context: Context | None, rows: int) -> tuple[Tensor, Tensor]:
        """Mean and deviation of the prior for each row ``[R, Z]``."""
        keys = [()] * rows if context is None else _keys(context)
        places = {key: place for place, key in reversed([*enumerate(keys)])}
        found = {key: self._draws(context, place) for key, place in places.items()}
        order = torch.tensor([[*found].index(key) for key in keys], device=self._noise.device)
        mean = torch.stack([drawn.mean(0) for drawn in found.values()])
        scale = torch.stack([drawn.std(0).clamp_min(SMALLEST) for drawn in found.values()])
        return mean[order], scale[order]

    def _draws(self, context: Context | None, row: int) -> Tensor:
        """Of the prior, given the context of one row ``[K, Z]``."""
        own = None if context is None else context.at(slice(row, row + 1))
        key = () if own is None else _keys(own)[0]
        if key not in self._known:
            repeated = None if own is None else own.repeated(DRAWS)
            self._known[key] = self._model.latents.draw(self._noise, repeated)[0]
        return self._known[key]


def _keys(context: Context) -> list[tuple[float, ...]]:
    """What tells the rows of a context apart."""
    parts = [
        part.flatten(1) if part.dim() > 1 else part[:, None] for part in context if part is not None
    ]
    listed = torch.cat([part.double() for part in parts], 1).tolist()
    return [tuple(row) for row in listed]
