"""What every domain says of its examples.

A domain is one file, and importing it imports no torch: what a model sees is said by the methods of
the tensors, and the rest needs NumPy alone. So the same object serves a training, an exported file
that is drawn from without torch, and the folder in which examples are stored.

Legend: B batch, N examples, S the axes of an example.
"""

import dataclasses
import functools
import operator
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from distvae.drawings import Drawing
from distvae.errors import DistvaeError
from distvae.fields import Field
from distvae.parts import DomainPart

if TYPE_CHECKING:
    from torch import Tensor

EACH = 10
"""Examples of a label that a person looks at."""


class Samples(NamedTuple):
    """Examples that a model draws, as they are stored, :data:`EACH` of each of the first labels."""

    stored: NDArray[Any]
    """``[N, *S]``."""
    names: Sequence[str]
    """Of what they are given."""
    words: Sequence[Sequence[str]]
    """That of each example ``[N]``, by name."""


class View(Protocol):
    """What a person can look at of a model and a split; the noise is the same in every epoch."""

    def samples(self) -> Samples:
        """Examples that the model draws."""

    def reconstructed(self, count: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """So many first examples of the split, and what the model makes of them ``[N, *S]``."""

    def alike(self, count: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """About so many examples of the split, and drawn ones of the same labels ``[N, *S]``."""


class Domain(ABC):
    """The contract of this part: what is stored, what a model sees of it, and what a sample is.

    A domain is a frozen dataclass whose fields are what a config.json and an exported file tell of
    it; their types and bounds are checked when these are read.
    """

    part: ClassVar[type[DomainPart]]
    """Its declaration."""
    field_name: ClassVar[str]
    """Of what is stored of an example, fit for a file name."""
    dtype: str
    """Of the stored numbers."""
    tensor: ClassVar[str]
    """What an exported file calls an example."""
    writers: ClassVar[Mapping[str, str]]
    """How drawn examples are written: by the ending of the output, the usual one first, in a few
    words; "" is a folder."""
    shape: tuple[int, ...]
    """Of an example, S."""
    levels: int | None = None
    """Stored numbers stand for so many even values from 0 to 1; None where they are others."""
    channels_last: ClassVar[bool] = False
    """Whether networks compute fastest with channels last in memory."""

    @classmethod
    @abstractmethod
    def of(
        cls, columns: Sequence[str], stored: NDArray[Any], binarize: str = "none", **facts: Any
    ) -> "Domain":
        """The domain of training examples ``[N, *S]``, at least one.

        Args:
            columns: names of the numbers of an example; empty where they have none.
            stored: the examples.
            binarize: how inputs are made of levels.
            facts: what the source knows of them besides, by the names of the domain's fields.
        """

    @classmethod
    def read(cls, values: NDArray[Any], columns: Sequence[str], where: str) -> NDArray[Any]:
        """Numbers of a source as they are stored ``[N, *S]``, of the domain's type.

        Args:
            values: ``[N, *S]``, numbers of any type; NaN where one is missing.
            columns: names of the numbers of an example.
            where: what holds them, for the message.

        Raises:
            DistvaeError: one of them cannot be stored.
        """
        raise NotImplementedError

    @property
    @abstractmethod
    def told(self) -> str:
        """What the examples are, for people, such as ``images 1x28x28``."""

    @property
    def names(self) -> tuple[str, ...]:
        """Of the numbers of an example, such as columns; most have none."""
        return ()

    @property
    def examples(self) -> str:
        """What they are called, such as images or rows."""
        return self.part.examples

    def record(self) -> dict[str, Any]:
        """What a config.json and an exported file say of it, fit for JSON."""
        return {"name": self.part.name, **dataclasses.asdict(self)}  # type: ignore[call-overload]

    @property
    def field(self) -> Field:
        """What is stored of an example."""
        return Field(self.field_name, self.shape, self.dtype)

    @property
    def fields(self) -> tuple[Field, ...]:
        """What the store keeps of an example."""
        return (self.field,)

    def settings(self) -> dict[str, Any]:
        """Settings of a run that make data so, as far as the domain knows them."""
        return {"binarize": "none"}

    @property
    def uniforms_shape(self) -> tuple[int, ...] | None:
        """Of the random numbers that the input of an example takes, None where it takes none."""
        return None

    @abstractmethod
    def to_input(self, stored: "Tensor", uniforms: "Tensor | None") -> "Tensor":
        """What a model sees ``[B, *S]``, float32, of what is stored ``[B, *S]``.

        Args:
            stored: examples.
            uniforms: uniform int16 ``[B, *uniforms_shape]``, where the input takes them.
        """

    def to_expected_input(self, stored: "Tensor") -> "Tensor":
        """The mean of the input over the random numbers it takes ``[B, *S]``."""
        return self.to_input(stored, None)

    @abstractmethod
    def to_values(self, stored: "Tensor") -> "Tensor":
        """What a likelihood's mean would be of stored examples ``[B, *S]``: undoes `to_stored`."""

    @abstractmethod
    def to_stored(self, values: "Tensor") -> "Tensor":
        """What a sample is, of a likelihood's mean ``[B, *S]``, as it would be stored."""

    def mean_values(self, parts: "Iterable[Tensor]", count: int) -> "Tensor":
        """The mean of the values of stored examples ``[*S]``.

        Args:
            parts: the examples in batches ``[B, *S]``.
            count: how many there are.
        """
        return sum_of(self.to_values(part).double().sum(0) for part in parts).div(count).float()

    @abstractmethod
    def checked_input(self, inputs: "Tensor") -> "Tensor":
        """What a caller gives a model to see ``[B, *S]``, as it is.

        Values are looked at, which waits for the device, but where torch compiles or exports.

        Raises:
            DistvaeError: it is of another type or shape, or beyond what an input can be.
        """

    @abstractmethod
    def cut(self, values: "Tensor") -> "Tensor":
        """Values ``[B, *S]``, none of them beyond what an input can be."""

    @property
    @abstractmethod
    def scale(self) -> NDArray[np.float64]:
        """By how much each stored number varies ``[*S]``: the unit of differences."""

    @abstractmethod
    def slack(
        self, values: NDArray[np.float32], stored: NDArray[Any], tolerance: float
    ) -> NDArray[np.float64]:
        """By how much stored numbers may be off whose values are ``[B, *S]``.

        Args:
            values: of a likelihood's mean.
            stored: what they become.
            tolerance: by which the values may be off, relative where one exceeds 1.
        """

    @abstractmethod
    def made_up(self, seed: int, count: int) -> NDArray[Any]:
        """Stored examples of any kind ``[count, *S]`` by seed, the same on every machine."""

    def place(self, index: Sequence[int]) -> str:
        """What a number of an example is called, such as ``column age``."""
        return f"number {tuple(index)}"

    @property
    @abstractmethod
    def title(self) -> tuple[str, str]:
        """The line of a table that says what an example is: a name and a text."""

    def summary(self, stored: NDArray[Any]) -> list[tuple[str, str]]:
        """Lines of a table about training examples ``[N, *S]``: names and texts."""
        return []

    def by_column(self, stored: NDArray[Any]) -> list[tuple[str, ...]]:
        """A table about training examples ``[N, *S]``, a header first; most have none."""
        return []

    @property
    def scales(self) -> list[tuple[str, ...]]:
        """A table of how numbers are scaled, a header first; most have none."""
        return []

    def line(self, sample: str) -> str:
        """The line of Python that turns a sample of a model into what people have the data in.

        Args:
            sample: the call that gives 16 of them.
        """
        shape = f"[16, {', '.join(map(str, self.shape))}]"
        return f"{self.examples} = model.domain.to_stored({sample})  # {shape}, {self.dtype}"

    @abstractmethod
    def writer(self, ending: str) -> Callable[[Path, Drawing], None]:
        """What writes drawn examples to an output with one of the endings in ``writers``."""

    @abstractmethod
    def show(self, view: View, folder: Path, epoch: int) -> None:
        """Write into a folder what shows how far a model is: ``epoch-NNNN`` with some ending."""


def refuse_other_types(values: "Tensor", name: str, next_step: str = "") -> None:
    """Refuse what is no tensor of floating point.

    Args:
        values: what was given.
        name: of it, in the plural.
        next_step: what to do about whole numbers.

    Raises:
        DistvaeError: it is something else.
    """
    from torch import Tensor

    if not isinstance(values, Tensor):
        raise DistvaeError(
            f"{name} are {type(values).__module__}.{type(values).__qualname__}",
            "expected a torch tensor",
            f"Make one: torch.as_tensor({name})",
        )
    if not values.is_floating_point():
        found = str(values.dtype).removeprefix("torch.")
        raise DistvaeError(f"{name} are {found}", "expected floating point numbers", next_step)


def sum_of(parts: "Iterable[Tensor]") -> "Tensor":
    """The sum of at least one tensor ``[*S]``."""
    return functools.reduce(operator.add, parts)


def is_traced() -> bool:
    """Whether torch compiles or exports, where no value can be looked at."""
    import torch

    return torch.compiler.is_compiling()
