"""What domains of rows of a table share: a column for each number, files of rows, histograms.

Legend: B batch, N rows, F columns.
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from distvae.domains.base import Domain, View, is_traced, refuse_other_types
from distvae.drawings import (
    Drawing,
    label_column,
    write_array,
    write_arrays,
    write_rows,
    write_table,
)
from distvae.errors import DistvaeError
from distvae.text import some
from distvae.values import Within

if TYPE_CHECKING:
    from torch import Tensor

LOOKED_AT = 2_000
"""Rows of a split that are held against generated ones."""
Columns = Annotated[tuple[Annotated[str, Within(0, 10_000)], ...], Within(1, 100_000)]
"""Their names."""


class Table(Domain):
    """Rows of numbers, each in a column that has a name."""

    columns: Columns
    writers: ClassVar = {".csv": "a table", ".npz": "arrays", ".npy": "an array of any size"}

    @property
    def shape(self) -> tuple[int]:  # type: ignore[override]
        """``(F,)``."""
        return (len(self.columns),)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the columns."""
        return self.columns

    @classmethod
    def read(cls, values: NDArray[Any], columns: Sequence[str], where: str) -> NDArray[Any]:
        """Finite numbers ``[N, F]`` of the domain's type.

        Raises:
            DistvaeError: one is missing, infinite, or no number of this type.
        """
        if values.dtype.kind not in "biuf":
            raise DistvaeError(f"{where} holds {values.dtype}", "expected numbers")
        with np.errstate(over="ignore", invalid="ignore"):
            stored = values.astype(cls.dtype)
            wrong = ~(np.isfinite(values) & np.isfinite(stored) & cls.fits(values))
        if wrong.any():
            by_column = wrong.sum(0)
            counted = [
                f"{columns[int(at)]} in {by_column[at]:,}" for at in np.flatnonzero(by_column)
            ]
            row, column = map(int, np.argwhere(wrong)[0])
            found = float(values[row, column])
            what = "is missing" if np.isnan(found) else f"is {found:g}"
            raise DistvaeError(
                f"{where} lacks numbers in {int(wrong.any(1).sum()):,} of {len(values):,} rows",
                f"column {some(counted)}; the first, in row {row}, {what}, where {cls.expected()} "
                "was expected",
                "Fill them in, or remove these rows or columns.",
            )
        return stored

    @classmethod
    def fits(cls, values: NDArray[Any]) -> NDArray[np.bool_]:
        """Which finite numbers can be stored ``[N, F]``."""
        return np.ones(values.shape, bool)

    @classmethod
    def expected(cls) -> str:
        """What a number has to be, in words."""
        return "a finite number of 32 bits"

    def checked_input(self, inputs: "Tensor") -> "Tensor":
        """Inputs ``[B, F]``, floating point and finite, as they are."""
        refuse_other_types(inputs, "inputs")
        if inputs.dim() != 2 or tuple(inputs.shape[1:]) != self.shape:
            raise DistvaeError(
                f"inputs have shape {list(inputs.shape)}",
                f"expected [B, {len(self.columns)}] for this model",
            )
        if not is_traced() and not bool(inputs.detach().isfinite().all()):
            raise DistvaeError("inputs are not finite", "expected numbers, no NaN or inf")
        return inputs

    def place(self, index: Sequence[int]) -> str:
        """``column NAME``."""
        return f"column {self.columns[index[0]]}"

    @property
    def title(self) -> tuple[str, str]:
        """The first columns."""
        return "columns", some(self.columns, 20)

    def by_column(self, stored: NDArray[Any]) -> list[tuple[str, ...]]:
        """What the rows hold in each column."""
        numbers = zip(
            *(stored.min(0), stored.max(0)),
            *(stored.mean(0, dtype=np.float64), stored.std(0, dtype=np.float64)),
            strict=True,
        )
        rows = [
            (name, *(f"{number:.5g}" for number in found))
            for name, found in zip(self.columns, numbers, strict=True)
        ]
        return [("column", "lowest", "highest", "mean", "deviation"), *rows]

    def line(self, sample: str) -> str:
        """Rows in the units of the data."""
        return (
            f"rows = model.domain.to_stored({sample})"
            f"  # [16, {len(self.columns)}], columns: model.domain.columns"
        )

    def writer(self, ending: str) -> Callable[[Path, Drawing], None]:
        """A csv, or arrays."""
        if ending == ".csv":
            return partial(write_table, columns=self.columns)
        return {".npz": write_arrays, ".npy": write_array}[ending]

    def show(self, view: View, folder: Path, epoch: int) -> None:
        """``epoch-NNNN.csv``, some generated rows of each label, and ``epoch-NNNN.png``.

        The latter shows how their columns and those of the split are distributed.
        """
        from distvae.marginals import write_marginals

        drawn, stem = view.samples(), f"epoch-{epoch:04d}"
        known = [label_column(self.columns)] if drawn.names == ["label"] else drawn.names
        rows = [(drawn.stored, drawn.words)]
        write_rows(folder / f"{stem}.csv", [*self.columns, *known], rows)
        real, generated = view.alike(LOOKED_AT)
        if len(real):
            write_marginals(folder / f"{stem}.png", self.columns, real, generated)
