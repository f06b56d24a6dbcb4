"""Vectors of real numbers, such as the rows of a table.

Legend: B batch, F columns.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distvae.domains.base import Domain, refuse_other_types
from distvae.errors import DistvaeError
from distvae.fields import Field, values_field
from distvae.parts import Need, Part
from distvae.records import VectorsRecord

CHUNK = 4096


class VectorsPart(Part):
    """Rows of a csv, tsv, jsonl, npz or npy of columns of numbers.

    The model sees them standardized by mean and deviation of the training rows.
    """

    name = "vectors"
    builds = "Vectors"
    needs = (
        Need("binarize", (None, "none"), "vectors are real numbers and no levels"),
        Need("streaming", (False,), "vectors are read at once"),
    )


@dataclass(frozen=True)
class Vectors(Domain):
    """Vectors of so many columns; a model sees each column with mean 0 and deviation 1."""

    columns: tuple[str, ...]
    """Their names."""
    mean: tuple[float, ...]
    """Of each column over the training examples."""
    deviation: tuple[float, ...]
    """The standard deviation of each column; 1 of one that never changes."""
    levels = None

    @classmethod
    def of(cls, columns: tuple[str, ...], values: NDArray[np.float32]) -> "Vectors":
        """The domain of training examples ``[N, F]``, at least one."""
        starts = range(0, len(values), CHUNK)
        parts = [values[start : start + CHUNK].astype(np.float64) for start in starts]
        mean = sum(part.sum(0) for part in parts) / len(values)
        square = sum(np.square(part - mean).sum(0) for part in parts) / len(values)
        deviation = np.sqrt(square)
        # what rounding leaves of a column that never changes is no deviation
        still = deviation <= np.abs(mean) * np.finfo(np.float32).eps
        deviation = np.where(still, 1.0, deviation)
        return cls(columns, tuple(mean.tolist()), tuple(deviation.tolist()))

    @property
    def shape(self) -> tuple[int]:  # type: ignore[override]
        """``(F,)``."""
        return (len(self.columns),)

    @classmethod
    def of_record(cls, record: VectorsRecord) -> "Vectors":
        """The domain that a config.json tells of."""
        return cls(record.columns, record.mean, record.deviation)

    @property
    def told(self) -> str:
        """``vectors of F columns``."""
        return f"vectors of {len(self.columns)} columns"

    def record(self) -> dict[str, Any]:
        """Columns and how they are standardized."""
        entries = {name: list(values) for name, values in vars(self).items()}
        return {"image_shape": None, "vectors": entries, "binarize": "none"}

    @property
    def fields(self) -> tuple[Field, ...]:
        """Values, float32."""
        return (values_field(len(self.columns)),)

    def to_input(self, stored: Tensor, uniforms: Tensor | None) -> Tensor:
        """Values ``[B, F]`` standardized; computed in 64 bits, as a column may lie far from 0."""
        mean, deviation = self._scales(stored)
        return ((stored.double() - mean) / deviation).float()

    def to_values(self, stored: Tensor) -> Tensor:
        """Values ``[B, F]`` standardized."""
        return self.to_input(stored, None)

    def to_stored(self, values: Tensor) -> Tensor:
        """Standardized values ``[B, F]`` in the units of the data, float32."""
        mean, deviation = self._scales(values)
        return (values.double() * deviation + mean).float()

    def checked_input(self, inputs: Tensor) -> Tensor:
        """Standardized vectors ``[B, F]``, floating point and finite, as they are."""
        refuse_other_types(inputs, "inputs")
        if inputs.dim() != 2 or tuple(inputs.shape[1:]) != self.shape:
            raise DistvaeError(
                f"inputs have shape {list(inputs.shape)}",
                f"expected [B, {len(self.columns)}] for this model",
            )
        if not torch.compiler.is_compiling() and not bool(torch.isfinite(inputs.detach()).all()):
            raise DistvaeError("inputs are not finite", "expected numbers, no NaN or inf")
        return inputs

    def cut(self, values: Tensor) -> Tensor:
        """The values themselves: real numbers have no bounds."""
        return values

    def _scales(self, like: Tensor) -> tuple[Tensor, Tensor]:
        mean, deviation = (
            torch.tensor(values, dtype=torch.float64, device=like.device)
            for values in (self.mean, self.deviation)
        )
        return mean, deviation
