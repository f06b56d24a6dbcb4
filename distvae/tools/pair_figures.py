"""How near reconstructions come, measured block by block.

Legend: B examples of a block.
"""

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from distvae.text import counted
from distvae.tools.collected import Collected


class PairFigures:
    """What is measured of examples that come block by block.

    Args:
        count: how many there are at most.
        pictures: whether they are pictures, which have PSNR and SSIM, or rows of a table.
        nats: whether the parts of the bound are known.
    """

    def __init__(self, count: int, pictures: bool, nats: bool) -> None:
        near = ("psnr", "ssim") if pictures else ("rmse",)
        self._pictures, self._nats = pictures, ("elbo", "distortion", "rate") if nats else ()
        self._names = (*near, *self._nats)
        self._found = Collected(count)

    @property
    def header(self) -> list[str]:
        """Of the table."""
        return ["id", "label", *self._names]

    def rows(
        self, ids: Sequence[str], labels: Sequence[str], found: Mapping[str, NDArray[np.float64]]
    ) -> Iterator[list[str]]:
        """Take in a block: names and labels of its examples, and figures ``[B]`` by name.

        Gives the rows of the table.
        """
        values = [found[name] for name in self._names]
        self._found.add(dict(zip(self._names, values, strict=True)))
        for row, (name, label) in enumerate(zip(ids, labels, strict=True)):
            yield [name, label, *(f"{each[row]:.6g}" for each in values)]

    @property
    def caption(self) -> str:
        """How near reconstructions come, in short."""
        if self._pictures:
            return f"PSNR {self._mean('psnr')[0]:.2f} dB, SSIM {self._mean('ssim')[0]:.3f}"
        return f"error {self._mean('rmse')[0]:.3f} deviations of a column"

    def line(self, what: str) -> str:
        """All figures, with standard errors over the examples."""
        if self._pictures:
            near = f"PSNR {self._told('psnr', 2)} dB, SSIM {self._told('ssim', 4)}"
        else:
            near = f"root mean square error {self._told('rmse', 4)} deviations of a column"
        count = counted(len(self._found), what)
        parts = [f"{name} {self._told(name, 2)}" for name in self._nats]
        nats = f"nats per {what.removesuffix('s')}: {', '.join(parts)}"
        return f"{count}: {near}; {nats if parts else 'exported files tell no nats'}"

    def _told(self, name: str, decimals: int) -> str:
        mean, error = self._mean(name)
        return f"{mean:.{decimals}f} ± {error:.{decimals}f}"

    def _mean(self, name: str) -> tuple[float, float]:
        """A mean and its standard error; of pictures that are equal PSNR is infinite."""
        values = self._found.column(name)
        if len(values) < 2 or not np.isfinite(values).all():
            return float(values.mean()), 0.0
        return float(values.mean()), float(values.std(ddof=1)) / math.sqrt(len(values))
