"""A recorder that does on a CPU what a CUDA graph does: it repeats operations without the program.

While a step runs, every operation on tensors is noted with the very tensors it took and gave.
Repeating means to call the operations again on the same memory, one after the other; no line of the
step runs. So what a step took from Python stays as it was when it was recorded, which shows whether
a step depends on anything but what lies on its device. What a graph cannot do is refused: to read
the device.
"""

# torch leaves functions untyped
# mypy: disable-error-code="no-untyped-call"

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from distvae.training.capture import NotCaptured, Repeat

READS = {
    "_local_scalar_dense",
    "item",
    "equal",
    "is_nonzero",
    "nonzero",
    "masked_select",
    "_unique2",
}
"""Operations whose result the host needs before it can go on."""
COPIES = {"lift_fresh", "lift_fresh_copy"}
"""Operations that bring a number of the host."""


class ReadByHost(NotCaptured):
    """A step that is recorded reads its device."""


@dataclass(frozen=True)
class _Call:
    function: Any
    arguments: tuple[Any, ...]
    options: dict[str, Any]
    results: list[Tensor]
    """Memory of its own that the operation filled; none where it changes that of others."""

    def repeat(self) -> None:
        found = self.function(*self.arguments, **self.options)
        for kept, new in zip(self.results, _tensors([found]), strict=False):
            kept.copy_(new)


class Recorder:
    """Records steps; see :class:`distvae.training.capture.Recorder`."""

    def __init__(self) -> None:
        self.recorded = 0
        self.operations: list[str] = []

    def record(self, step: Callable[[], object]) -> Repeat:
        step()  # what is made once is there afterwards
        noting = _Noting()
        with noting:
            step()
        self.recorded += 1
        self.operations = [name_of(call.function) for call in noting.calls]

        def replay(steps: int = 1) -> None:
            with torch.no_grad():
                for call in noting.calls * steps:
                    call.repeat()

        return replay


class _Noting(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.calls: list[_Call] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        options = kwargs or {}
        name = name_of(func)
        given = list(_tensors([args, options]))
        masked = name.startswith("index") and any(each.dtype == torch.bool for each in given[1:])
        if masked or name in READS | COPIES:
            raise ReadByHost(f"operation not permitted when stream is capturing: {name}")
        found = func(*args, **options)
        held = {tensor.untyped_storage().data_ptr() for tensor in given}
        own = [each for each in _tensors([found]) if each.untyped_storage().data_ptr() not in held]
        written = [each.alias_info for each in func._schema.arguments if each.alias_info]
        if own or any(each.is_write for each in written):
            self.calls.append(_Call(func, args, options, own))
        return found


def name_of(function: Any) -> str:
    return str(function.overloadpacket).rsplit(".", 1)[-1]


def _tensors(values: Iterable[Any]) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(value)
        elif isinstance(value, dict):
            yield from _tensors(value.values())
