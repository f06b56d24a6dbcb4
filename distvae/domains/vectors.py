"""Vectors of real numbers, such as the rows of a table.

Legend: B batch, N rows, F columns.
"""

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from numpy.typing import NDArray

from distvae.domains.base import is_traced
from distvae.domains.tables import Columns, Table
from distvae.draws.normals import standard_normal
from distvae.errors import DistvaeError
from distvae.parts import DomainPart, Need
from distvae.text import counted
from distvae.values import Within

if TYPE_CHECKING:
    from torch import Tensor

CHUNK = 4096
Real = Annotated[float, Within(-1e300, 1e300)]


class VectorsPart(DomainPart):
    """Rows of a csv, tsv, jsonl, npz or npy of columns of numbers.

    The model sees them standardized by mean and deviation of the training rows.
    """

    name = "vectors"
    builds = "Vectors"
    needs = (
        Need("binarize", (None, "none"), "vectors are real numbers and no levels"),
        Need("streaming", (False,), "vectors are read at once"),
    )
    usual = True


@dataclass(frozen=True)
class Vectors(Table):
    """Vectors of so many columns; a model sees each column with mean 0 and deviation 1."""

    columns: Columns
    """Their names."""
    mean: tuple[Real, ...]
    """Of each column over the training examples."""
    deviation: tuple[Real, ...]
    """The standard deviation of each column; 1 of one that never changes."""

    part = VectorsPart
    field_name, dtype, tensor = "values", "float32", "values"

    def __post_init__(self) -> None:
        """Refuse columns without their scale.

        Raises:
            DistvaeError: there is not one mean and one deviation above 0 for each.
        """
        fits = len(self.mean) == len(self.deviation) == len(self.columns) > 0
        if not fits or min(self.deviation) <= 0:
            raise DistvaeError(
                "the columns of a model are damaged",
                "expected a name, a mean and a deviation above 0 for each",
                "Use another copy of its config.json.",
            )

    @classmethod
    def of(
        cls, columns: Sequence[str], stored: NDArray[Any], binarize: str = "none", **facts: Any
    ) -> "Vectors":
        """The domain of training examples ``[N, F]``, at least one."""
        starts = range(0, len(stored), CHUNK)
        parts = [stored[start : start + CHUNK].astype(np.float64) for start in starts]
        mean = sum(part.sum(0) for part in parts) / len(stored)
        square = sum(np.square(part - mean).sum(0) for part in parts) / len(stored)
        deviation = np.sqrt(square)
        # what rounding leaves of a column that never changes is no deviation
        still = deviation <= np.abs(mean) * np.finfo(np.float32).eps
        deviation = np.where(still, 1.0, deviation)
        return cls(tuple(columns), tuple(mean.tolist()), tuple(deviation.tolist()))

    @property
    def told(self) -> str:
        """``vectors of F columns``."""
        return f"vectors of {counted(len(self.columns), 'columns')}"

    def to_input(self, stored: "Tensor", uniforms: "Tensor | None") -> "Tensor":
        """Values ``[B, F]`` standardized; computed in 64 bits, as a column may lie far from 0."""
        wide = stored.double()
        mean, deviation = self._scales(wide)
        return ((wide - mean) / deviation).float()

    def to_values(self, stored: "Tensor") -> "Tensor":
        """Values ``[B, F]`` standardized."""
        return self.to_input(stored, None)

    def mean_values(self, parts: "Iterable[Tensor]", count: int) -> "Tensor":
        """Zeros ``[F]``: that is how the columns are standardized."""
        return next(iter(parts)).new_zeros(self.shape)

    def to_stored(self, values: "Tensor") -> "Tensor":
        """Standardized values ``[B, F]`` in the units of the data, float32."""
        wide = values.double()
        mean, deviation = self._scales(wide)
        return (wide * deviation + mean).float()

    def cut(self, values: "Tensor") -> "Tensor":
        """The values themselves: real numbers have no bounds."""
        return values

    @property
    def scale(self) -> NDArray[np.float64]:
        """Deviations ``[F]``."""
        return np.array(self.deviation)

    def slack(
        self, values: NDArray[np.float32], stored: NDArray[Any], tolerance: float
    ) -> NDArray[np.float64]:
        """The tolerance in deviations of the column, and two roundings of the number."""
        off: NDArray[np.float64] = tolerance * np.maximum(1.0, np.abs(values)) * self.scale
        off += 2.0 * np.spacing(np.abs(stored))
        return off

    def made_up(self, seed: int, count: int) -> NDArray[np.float32]:
        """Normal numbers of the mean and the deviation of each column."""
        values = standard_normal(seed, 0, count, len(self.columns)).astype(np.float64)
        found: NDArray[np.float32] = (values * self.scale + self.mean).astype(np.float32)
        return found

    @property
    def scales(self) -> list[tuple[str, ...]]:
        """Mean and deviation of each column."""
        columns = zip(self.columns, self.mean, self.deviation, strict=True)
        rows = [(name, f"{mean:.5g}", f"{deviation:.5g}") for name, mean, deviation in columns]
        return [("column", "mean", "deviation"), *rows]

    @functools.cached_property
    def _on_devices(self) -> "dict[Any, tuple[Tensor, Tensor]]":
        return {}

    def _scales(self, wide: "Tensor") -> "tuple[Tensor, Tensor]":
        """Mean and deviation ``[F]`` beside a tensor, copied to its device once."""
        if not is_traced() and (known := self._on_devices.get(wide.device)):
            return known
        found = wide.new_tensor(self.mean), wide.new_tensor(self.deviation)
        if not is_traced():
            self._on_devices[wide.device] = found
        return found
