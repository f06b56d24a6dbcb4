"""What every domain says of its examples.

Legend: B batch, S the axes of an example.
"""

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor

from distvae.fields import Field


class Domain(ABC):
    """The contract of this part: what is stored, what a model sees of it, and what a sample is."""

    shape: tuple[int, ...]
    """Of an example, S."""
    levels: int | None
    """Stored numbers stand for so many even values from 0 to 1; None where they are real."""
    memory_format: torch.memory_format = torch.contiguous_format
    """In which networks compute fastest."""

    @property
    @abstractmethod
    def told(self) -> str:
        """What the examples are, for people, such as ``images 1x28x28``."""

    @abstractmethod
    def record(self) -> dict[str, Any]:
        """What a config.json says of it, see :class:`distvae.records.ModelRecord`."""

    @property
    @abstractmethod
    def fields(self) -> tuple[Field, ...]:
        """What the store keeps of an example."""

    @property
    def uniforms_shape(self) -> tuple[int, ...] | None:
        """Of the random numbers that the input of an example takes, None where it takes none."""
        return None

    @abstractmethod
    def to_input(self, stored: Tensor, uniforms: Tensor | None) -> Tensor:
        """What a model sees ``[B, *S]``, float32, of what is stored ``[B, *S]``.

        Args:
            stored: examples.
            uniforms: uniform int16 ``[B, *uniforms_shape]``, where the input takes them.
        """

    def to_expected_input(self, stored: Tensor) -> Tensor:
        """The mean of the input over the random numbers it takes ``[B, *S]``."""
        return self.to_input(stored, None)

    @abstractmethod
    def to_stored(self, values: Tensor) -> Tensor:
        """What a sample is, of a likelihood's mean ``[B, *S]``, as it would be stored."""

    @abstractmethod
    def cut(self, values: Tensor) -> Tensor:
        """Values ``[B, *S]``, none of them beyond what an input can be."""
