"""What every domain says of its examples.

Legend: B batch, S the axes of an example.
"""

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor

from distvae.errors import DistvaeError
from distvae.fields import EXAMPLES, Field


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

    @property
    def examples(self) -> str:
        """What they are called: images or rows."""
        return EXAMPLES[self.fields[0].name]

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
    def to_values(self, stored: Tensor) -> Tensor:
        """What a likelihood's mean would be of stored examples ``[B, *S]``: undoes `to_stored`."""

    @abstractmethod
    def to_stored(self, values: Tensor) -> Tensor:
        """What a sample is, of a likelihood's mean ``[B, *S]``, as it would be stored."""

    @abstractmethod
    def checked_input(self, inputs: Tensor) -> Tensor:
        """What a caller gives a model to see ``[B, *S]``, as it is.

        Values are looked at, which waits for the device, but where torch compiles or exports.

        Raises:
            DistvaeError: it is of another type or shape, or beyond what an input can be.
        """

    @abstractmethod
    def cut(self, values: Tensor) -> Tensor:
        """Values ``[B, *S]``, none of them beyond what an input can be."""


def refuse_other_types(values: Tensor, name: str, next_step: str = "") -> None:
    """Refuse what is no tensor of floating point.

    Args:
        values: what was given.
        name: of it, in the plural.
        next_step: what to do about whole numbers.

    Raises:
        DistvaeError: it is something else.
    """
    if not isinstance(values, Tensor):
        raise DistvaeError(
            f"{name} are {type(values).__module__}.{type(values).__qualname__}",
            "expected a torch tensor",
            f"Make one: torch.as_tensor({name})",
        )
    if not values.is_floating_point():
        found = str(values.dtype).removeprefix("torch.")
        raise DistvaeError(f"{name} are {found}", "expected floating point numbers", next_step)
