"""How near reconstructions come, measured block by block.

Legend: B examples of a block.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from distvae.text import counted


class PairFigures:
    """What is measured of examples that come block by block."""

    def __init__(self) -> None:
        self._rows: list[list[str]] = []
        self._columns: dict[str, list[NDArray[np.float64]]] = {}

    def add(
        self, ids: Sequence[str], labels: Sequence[str], found: Mapping[str, NDArray[np.float64]]
    ) -> None:
        """Take in a block: names and labels of its examples, and figures ``[B]`` by name."""
        for name, values in found.items():
            self._columns.setdefault(name, []).append(values)
        for row, (name, label) in enumerate(zip(ids, labels, strict=True)):
            self._rows.append([name, label, *(f"{values[row]:.6g}" for values in found.values())])

    @property
    def table(self) -> tuple[list[str], list[list[str]]]:
        """A header, and a row for each example."""
        return ["id", "label", *self._columns], self._rows

    @property
    def caption(self) -> str:
        """How near reconstructions come, in short."""
        if "psnr" in self._columns:
            return f"PSNR {self._mean('psnr')[0]:.2f} dB, SSIM {self._mean('ssim')[0]:.3f}"
        return f"error {self._mean('rmse')[0]:.3f} deviations of a column"

    def line(self, what: str) -> str:
        """All figures, with standard errors over the examples."""
        if "psnr" in self._columns:
            near = f"PSNR {self._told('psnr', 2)} dB, SSIM {self._told('ssim', 4)}"
        else:
            near = f"root mean square error {self._told('rmse', 4)} deviations of a column"
        parts = [f"{name} {self._told(name, 2)}" for name in ("elbo", "distortion", "rate")]
        one, count = what.removesuffix("s"), counted(len(self._rows), what)
        return f"{count}: {near}; nats per {one}: {', '.join(parts)}"

    def _told(self, name: str, decimals: int) -> str:
        mean, error = self._mean(name)
        return f"{mean:.{decimals}f} ± {error:.{decimals}f}"

    def _mean(self, name: str) -> tuple[float, float]:
        """A mean and its standard error; of pictures that are equal PSNR is infinite."""
        values = np.concatenate(self._columns[name])
        if len(values) < 2 or not np.isfinite(values).all():
            return float(values.mean()), 0.0
        return float(values.mean()), float(values.std(ddof=1)) / math.sqrt(len(values))
