"""Modules without weights, for their names and shapes."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode


@contextlib.contextmanager
def weightless() -> Iterator[None]:
    """What is built within has shapes alone, and takes neither time nor memory."""
    with torch.device("meta"), _Unset():
        yield


class _Unset(TorchFunctionMode):
    """Leaves weights as they are where they would be drawn: torch loads its compiler for that."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        named = kwargs or {}
        if func in (nn.init.normal_, Tensor.normal_):
            return named["tensor"] if "tensor" in named else args[0]
        return func(*args, **named)
