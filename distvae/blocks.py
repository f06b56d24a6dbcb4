"""Work on many rows, block by block: as many at once as the device has room for.

On a CPU a block has the size that its caller names, so that it stays in the cache. A GPU is filled
by large blocks alone: there the first one is as small, and those after it are as large as the
memory that it took allows. Where memory runs out all the same, a block is halved.
"""

import math
from collections import deque
from collections.abc import Callable, Iterator
from typing import Protocol, TypeVar

import torch
from torch import Tensor

Result = TypeVar("Result")
SHARE = 0.5
"""Of the free memory, for a block."""
MOST = 2**32
"""Bytes for a block at most: they fill any card, and no tensor has 2^31 numbers."""
FAST_DOUBLES = ((6, 0), (7, 0), (8, 0), (9, 0), (10, 0))
"""Compute capabilities of cards that are half as fast in float64 as in float32."""


class Memory(Protocol):
    """What is known of the memory of a device."""

    def free(self) -> int:
        """Bytes that tensors could still take."""

    def start(self) -> None:
        """Begin to measure."""

    def used(self) -> int:
        """The most bytes that tensors took at any time since then, beyond those from before."""


class CudaMemory:
    """That of a CUDA device, as torch's allocator counts it; nothing here waits for the device."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._before = 0

    def free(self) -> int:
        """What no process has, and what torch holds without using it."""
        free, _ = torch.cuda.mem_get_info(self._device)
        held = torch.cuda.memory_reserved(self._device)
        return free + held - torch.cuda.memory_allocated(self._device)

    def start(self) -> None:
        """Forget the peak."""
        torch.cuda.reset_peak_memory_stats(self._device)
        self._before = torch.cuda.memory_allocated(self._device)

    def used(self) -> int:
        """The peak, less what was there."""
        return torch.cuda.max_memory_allocated(self._device) - self._before


def memory_of(device: torch.device) -> Memory | None:
    """That of a device; None where blocks follow the cache."""
    return CudaMemory(device) if device.type == "cuda" else None


def fitting(each: float, device: torch.device, usual: int) -> int:
    """How many rows to compute together.

    Args:
        each: bytes that a row takes meanwhile.
        device: on which.
        usual: their number on a CPU.
    """
    memory = memory_of(device)
    return usual if memory is None else _fitting(each, memory)


def measured(compute: Callable[[slice], object], size: int, device: torch.device) -> int:
    """How many rows to compute together, by the memory that so many take; on a CPU so many.

    Args:
        compute: computes the rows ``slice(0, size)``; its result is dropped.
        size: how many there are.
        device: on which it computes.
    """
    memory = memory_of(device)
    if memory is None:
        return size
    memory.start()
    compute(slice(0, size))
    return _fitting(memory.used() / size, memory)


def in_blocks(
    compute: Callable[[slice], Result],
    rows: range,
    size: int,
    device: torch.device,
    advance: Callable[[int], None] = lambda count: None,
) -> Iterator[Result]:
    """What is computed of each block of rows, one after the other.

    Args:
        compute: takes the numbers of the rows of a block. It is called again for half of them
            where the device has no room for all, so what it changes must not be missed.
        rows: consecutive numbers.
        size: of a block on a CPU, elsewhere of the first.
        device: on which it computes.
        advance: told the number of rows done; of a GPU those that it is through with.

    Raises:
        RuntimeError: there is no room for a single row.
    """
    memory, told = memory_of(device), _Told(device, advance)
    start, most = rows.start, len(rows)
    while start < rows.stop:
        part = slice(start, min(start + min(size, most), rows.stop))
        count = part.stop - part.start
        if memory is not None:
            memory.start()
        try:
            result = compute(part)
        except RuntimeError as error:
            if count == 1 or not _out_of_memory(error):
                raise
            most = count // 2
        else:
            if memory is not None:
                size = _fitting(memory.used() / count, memory)
            yield result
            told.of(count)
            start = part.stop
    told.all()


def joined(
    compute: Callable[[slice], Tensor], count: int, size: int, device: torch.device
) -> Tensor:
    """What :func:`in_blocks` computes of the rows from 0 to ``count``, as one tensor."""
    parts = list(in_blocks(compute, range(count), size, device))
    return torch.cat(parts) if parts else compute(slice(0, 0))


def fastest_device() -> torch.device:
    """A GPU where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def for_doubles(device: torch.device) -> torch.device:
    """Where to compute in float64: on the device if it does so fast, else on the CPU."""
    if device.type == "cuda" and torch.cuda.get_device_capability(device) in FAST_DOUBLES:
        return device
    return torch.device("cpu")


def _fitting(each: float, memory: Memory) -> int:
    room = min(MOST, SHARE * memory.free())
    return max(1, math.floor(room / max(1.0, each)))


def _out_of_memory(error: RuntimeError) -> bool:
    from accelerate.utils.memory import should_reduce_batch_size

    return isinstance(error, torch.OutOfMemoryError) or should_reduce_batch_size(error)


class _Told:
    """Tells of rows once the device is through with them, without waiting for it."""

    def __init__(self, device: torch.device, advance: Callable[[int], None]) -> None:
        self._device, self._advance = device, advance
        self._ahead: deque[tuple[torch.cuda.Event, int]] = deque()

    def of(self, count: int) -> None:
        """So many more rows are on their way."""
        if self._device.type != "cuda":
            self._advance(count)
            return
        event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        event.record(torch.cuda.current_stream(self._device))
        self._ahead.append((event, count))
        while self._ahead and self._ahead[0][0].query():  # type: ignore[no-untyped-call]
            self._advance(self._ahead.popleft()[1])

    def all(self) -> None:
        """There are no more."""
        for _, count in self._ahead:
            self._advance(count)
