"""Operations of a step that are called by the addresses of their functions."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from distvae.training import kernel
from distvae.training.operations import ALLOCATED, Generated, Operation, Place, of_kind
from distvae.training.own_product import product
from distvae.training.sequence import NativeCall

Memory = Mapping[int, torch.UntypedStorage]
"""Of storages, by number, those that stay where they are."""


def is_native(function: Any) -> bool:
    """Whether it is called so, or only stands for memory of those that are."""
    return function is product or function is ALLOCATED or isinstance(function, Generated)


def native_call(operation: Operation, memory: Memory) -> NativeCall:
    """The call of one on memory that stays where it is."""

    def tensors(places: Any) -> list[Tensor]:
        return [tensor_at(place, memory[place.storage]) for place in of_kind(Place, places)]

    given = tensors(operation.arguments)
    if isinstance(operation.function, Generated):
        addresses = tuple(tensor.data_ptr() for tensor in given)
        return NativeCall(operation.function.address, addresses, given)
    (left, right, *bias), (out,) = given, tensors(operation.results)
    return kernel.call(left, right, out, *bias)


def tensor_at(place: Place, memory: torch.UntypedStorage) -> Tensor:
    """The tensor of a place."""
    whole = torch.empty(0, dtype=place.dtype)
    return whole.set_(memory, place.offset, place.size, place.stride)
