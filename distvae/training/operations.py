"""The operations of a step on a CPU, noted while it runs."""

# torch leaves functions untyped
# mypy: disable-error-code="no-untyped-call"

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from distvae.training.capture import NotCaptured


class Place(NamedTuple):
    """A tensor, by where its numbers lie."""

    storage: int
    """Its number in the order of appearance."""
    dtype: torch.dtype
    size: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int


@dataclass(frozen=True)
class Generated:
    """A kernel that torch's compiler wrote: it takes the addresses of tensors, and writes there."""

    address: int


ALLOCATED = "allocated"
"""Stands as the function of an operation that makes memory and nothing else."""


@dataclass(frozen=True)
class Operation:
    """What was called; tensors are given by their places."""

    function: Any
    """Of torch, a generated kernel, or :data:`ALLOCATED`."""
    arguments: tuple[Any, ...]
    options: dict[str, Any]
    results: Any
    made: tuple[int, ...]
    """Storages that it made."""

    @property
    def writes(self) -> bool:
        """Whether it changes what it was given."""
        if isinstance(self.function, Generated):
            return True
        return self.function is not ALLOCATED and any(
            each.alias_info is not None and each.alias_info.is_write
            for each in self.function._schema.arguments
        )

    def places(self) -> Iterator[Place]:
        """All that it takes and gives."""
        return of_kind(Place, (self.arguments, self.options, self.results))


@dataclass
class Noted(TorchDispatchMode):
    """Inside, operations are noted; what reads the numbers themselves is an error.

    It holds no tensor that a step makes: autograd would copy gradients that somebody else holds.
    """

    operations: list[Operation] = field(default_factory=list)
    outer: dict[int, Tensor] = field(default_factory=dict)
    """A tensor of each storage that was there before."""
    sizes: dict[int, int] = field(default_factory=dict)
    """Bytes of each storage."""
    _numbers: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__init__()

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Torch would import TorchDynamo, which takes a second, to keep it away from here."""
        return False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Note an operation, and do it."""
        options = kwargs or {}
        given = list(of_kind(Tensor, (args, options)))
        if _reads(func, given):
            raise NotCaptured(f"operation {func} reads the device or brings a number of the host")
        arguments, named = each_of(Tensor, self._place, (args, options))
        found = func(*args, **options)
        held = {_address(tensor) for tensor in given}
        made = {_address(tensor): tensor for tensor in of_kind(Tensor, found)}
        made = {address: tensor for address, tensor in made.items() if address not in held}
        for address, tensor in made.items():
            self._number(address, tensor)
        results = each_of(Tensor, self._place, found)
        numbers = tuple(self._numbers[address] for address in made)
        self.operations.append(Operation(func, arguments, named, results, numbers))
        return found

    def add(self, function: Any, *given: Any, found: Tensor | None = None, **options: Any) -> None:
        """Note what is called around torch's dispatcher."""
        arguments, named, result = each_of(Tensor, self._place, (given, options, found))
        self.operations.append(Operation(function, arguments, named, result, ()))

    def allocated(self, tensor: Tensor) -> None:
        """Note memory that was allocated around torch's dispatcher."""
        number = self._number(_address(tensor), tensor)
        place = self._place(tensor)
        self.operations.append(Operation(ALLOCATED, (), {}, place, (number,)))

    def _number(self, address: int, tensor: Tensor) -> int:
        number = self._numbers[address] = len(self.sizes)
        self.sizes[number] = tensor.untyped_storage().nbytes()
        return number

    def _place(self, tensor: Tensor) -> Place:
        address = _address(tensor)
        if address not in self._numbers:
            self.outer[self._number(address, tensor)] = tensor.detach()
        where = tuple(tensor.shape), tensor.stride(), int(tensor.storage_offset())
        return Place(self._numbers[address], tensor.dtype, *where)


def _address(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def _reads(function: Any, given: list[Tensor]) -> bool:
    """Whether the host must know the numbers to go on, or brings some."""
    name = function.overloadpacket.__name__
    if name.startswith("index"):
        return any(each.dtype == torch.bool for each in given[1:])
    tags = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape}
    return bool(tags & set(function.tags)) or name in {"lift_fresh", "lift_fresh_copy", "_unique2"}


def of_kind(kind: Any, values: Any) -> Iterator[Any]:
    """All values of a kind in lists, tuples and dicts."""
    if isinstance(values, kind):
        yield values
    elif isinstance(values, list | tuple | dict):
        for value in values.values() if isinstance(values, dict) else values:
            yield from of_kind(kind, value)


def each_of(kind: Any, change: Callable[[Any], Any], values: Any) -> Any:
    """The same with every value of a kind changed."""
    if isinstance(values, kind):
        return change(values)
    if isinstance(values, dict):
        return {name: each_of(kind, change, value) for name, value in values.items()}
    if isinstance(values, list | tuple):
        return type(values)(each_of(kind, change, value) for value in values)
    return values
