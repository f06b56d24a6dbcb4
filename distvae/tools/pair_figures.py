"""How near reconstructions come: the figures of each, their means, and the table of them.

Legend: N examples.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distvae.text import counted, one_of
from distvae.tools.examples import Examples
from distvae.tools.reading import BLOCK
from distvae.tools.reconstruction import Reconstruction

ROWS = "rows"


class PairFigures:
    """What is measured of examples.

    Args:
        columns: the numbers of the examples, ``rows``, and their figures ``[N]`` by name.
        pictures: whether they are pictures, which have PSNR and SSIM, or rows of a table.
        nats: whether the parts of the bound are known.
    """

    def __init__(self, columns: Mapping[str, NDArray[Any]], pictures: bool, nats: bool) -> None:
        near = ("psnr", "ssim") if pictures else ("rmse",)
        self._pictures, self._nats = pictures, ("elbo", "distortion", "rate") if nats else ()
        self._names = (*near, *self._nats)
        self._columns = columns

    @staticmethod
    def columns_of(found: Reconstruction, pictures: bool) -> dict[str, NDArray[Any]]:
        """What is measured of some examples."""
        return {ROWS: found.rows, **found.figures(pictures)}

    def table(self, examples: Examples) -> tuple[list[str], Iterator[list[str]]]:
        """A header, and a row for each example, block by block."""
        rows = self._columns[ROWS]
        starts = range(0, len(rows), BLOCK)
        found = (row for start in starts for row in self._block(examples, start))
        return ["id", "label", *self._names], found

    def _block(self, examples: Examples, start: int) -> Iterator[list[str]]:
        some = slice(start, start + BLOCK)
        rows, values = (
            self._columns[ROWS][some],
            [self._columns[name][some] for name in self._names],
        )
        names, labels = examples.names(rows), np.full(len(rows), -1)
        if examples.label_names:
            labels = examples.labels[rows]
        for place, (name, label) in enumerate(zip(names, labels.tolist(), strict=True)):
            word = examples.label_names[label] if label >= 0 else ""
            yield [name, word, *(f"{each[place]:.6g}" for each in values)]

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
        count = counted(len(self._columns[ROWS]), what)
        parts = [f"{name} {self._told(name, 2)}" for name in self._nats]
        nats = f"nats per {one_of(what)}: {', '.join(parts)}"
        return f"{count}: {near}; {nats if parts else 'exported files tell no nats'}"

    def _told(self, name: str, decimals: int) -> str:
        mean, error = self._mean(name)
        alone = len(self._columns[name]) < 2
        return f"{mean:.{decimals}f}" if alone else f"{mean:.{decimals}f} ± {error:.{decimals}f}"

    def _mean(self, name: str) -> tuple[float, float]:
        """A mean and its standard error; of pictures that are equal PSNR is infinite."""
        values = self._columns[name]
        if len(values) < 2 or not np.isfinite(values).all():
            return float(values.mean()), 0.0
        return float(values.mean()), float(values.std(ddof=1)) / math.sqrt(len(values))
