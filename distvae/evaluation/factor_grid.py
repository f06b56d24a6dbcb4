"""A whole grid of images by row, put together again from the splits of opened data.

Legend: N images, C channels, H height, W width, F factors.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from distvae.data.factors import Factor, classes_of, sizes_of
from distvae.data.sources.sprites import GRIDS
from distvae.data.store import ImageData
from distvae.errors import DistvaeError


@dataclass(frozen=True, eq=False)
class FactorData:
    """A whole grid of images, by row.

    ``images`` gives uint8 ``[N, C, H, W]`` for the rows int64 ``[N]``.
    """

    factors: tuple[Factor, ...]
    images: Callable[[NDArray[np.int64]], NDArray[np.uint8]]

    @classmethod
    def of(cls, data: ImageData) -> "FactorData":
        """The grid that opened data was split from.

        Raises:
            DistvaeError: its factors are not known.
        """
        if not data.factors:
            raise DistvaeError(
                f"the factors of {data.source} are not known",
                f"they are of {', '.join(GRIDS)} and of dSprites' npz",
                "Train on one of these, or leave out --metrics factors.",
            )
        splits = (data.train, data.test)
        place = np.empty((math.prod(sizes_of(data.factors)), 2), np.int64)
        for number, split in enumerate(splits):
            assert split.rows is not None
            place[split.rows] = np.stack(
                [np.full(len(split), number), np.arange(len(split))], axis=1
            )

        def images(rows: NDArray[np.int64]) -> NDArray[np.uint8]:
            result = np.empty((len(rows), *data.image_shape), np.uint8)
            owner, index = place[rows].T
            for number, split in enumerate(splits):
                result[owner == number] = split.images[index[owner == number]]
            return result

        return cls(data.factors, images)

    def __len__(self) -> int:
        """The number of images."""
        return math.prod(self.sizes)

    @property
    def sizes(self) -> tuple[int, ...]:
        """The number of classes of each factor."""
        return sizes_of(self.factors)

    def classes(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """The class of each factor in each row, ``[N, F]``."""
        return classes_of(self.factors, rows)

    def rows(self, classes: NDArray[np.int64]) -> NDArray[np.int64]:
        """The rows ``[N]`` of these classes ``[N, F]``."""
        rows: NDArray[np.int64] = np.ravel_multi_index(tuple(classes.T), self.sizes)
        return rows
