"""What the processes of a run do together: fail, choose, agree on settings, compare weights."""

import json
import os
import platform
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from accelerate import Accelerator
from torch import Tensor

from distvae.checkpoint import Trained, optimizer_tensors
from distvae.errors import DistvaeError
from distvae.players import Across, alone

Result = TypeVar("Result")
_SAME_SIZE = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def gathered(accelerator: Accelerator, value: Any) -> list[Any]:
    """What each process passed, by rank; it travels as JSON."""
    if accelerator.num_processes == 1:
        return [value]
    text = bytearray() if value is None else bytearray(json.dumps(value).encode())
    device = accelerator.device
    sizes = accelerator.gather(torch.tensor([len(text)], device=device)).tolist()
    if not any(sizes):
        return [None] * len(sizes)
    padded = torch.zeros(1, max(sizes), dtype=torch.uint8)
    if text:
        padded[0, : len(text)] = torch.frombuffer(text, dtype=torch.uint8)
    rows = accelerator.gather(padded.to(device)).cpu()
    return [
        json.loads(bytes(row[:size].tolist())) if size else None
        for row, size in zip(rows, sizes, strict=True)
    ]


def together(accelerator: Accelerator, work: Callable[[], Result]) -> Result:
    """Do something on every process; where one fails, all fail with its message.

    Raises:
        DistvaeError: that of the first rank that failed.
    """
    failure: DistvaeError | None = None
    try:
        result = work()
    except DistvaeError as error:
        if accelerator.num_processes == 1:
            raise
        failure = error
    failures = gathered(
        accelerator, failure and [failure.thing, failure.expected, failure.next_step]
    )
    rank = next((rank for rank, parts in enumerate(failures) if parts), None)
    if rank is None:
        return result
    if failure is not None and rank == accelerator.process_index == 0:
        raise failure
    thing, expected, next_step = failures[rank]
    raise DistvaeError(f"on rank {rank}, {thing}" if rank else thing, expected, next_step)


def on_main(accelerator: Accelerator, work: Callable[[], Any]) -> Any:
    """Do something on the main process alone; its result, fit for JSON, or its failure is all's."""
    main = accelerator.is_main_process
    return gathered(accelerator, together(accelerator, lambda: work() if main else None))[0]


def introduce(accelerator: Accelerator) -> list[str]:
    """How to call each rank in a message: its number, process and host."""
    said = gathered(accelerator, [os.getpid(), platform.node()])
    return [f"rank {rank} (process {pid} on {host})" for rank, (pid, host) in enumerate(said)]


def check_agreement(accelerator: Accelerator, facts: dict[str, Any], names: list[str]) -> None:
    """Refuse processes that were started with different settings, versions or data.

    Args:
        accelerator: with its process group up.
        facts: what must be the same everywhere, fit for JSON.
        names: how to call each rank.

    Raises:
        DistvaeError: on all ranks alike; it names the first that differs from rank 0, and in what.
    """
    said = gathered(accelerator, facts)
    for rank, facts_there in enumerate(said):
        different = [
            f"{name} is {facts_there.get(name)!r} there and {said[0].get(name)!r} on rank 0"
            for name in {**said[0], **facts_there}
            if facts_there.get(name) != said[0].get(name)
        ]
        if different:
            raise DistvaeError(
                f"{names[rank]} was started otherwise than rank 0",
                "; ".join(different),
                "Start all processes with the same command, data and versions.",
            )


def gather_rows(accelerator: Accelerator) -> Callable[[Tensor], Tensor]:
    """How to put together the rows ``[B, ...]`` of all processes, in the order of the batch.

    For what every process then computes alike from all rows. Its gradient for its own rows is that
    of each other process too, and as processes average the gradients of weights, it is passed on
    as many times as there are processes. So nothing travels in the backward pass.
    """
    if accelerator.num_processes == 1:
        return alone

    def gather(rows: Tensor) -> Tensor:
        everywhere: Tensor = _GatherRows.apply(rows, accelerator)  # type: ignore[no-untyped-call]
        return everywhere

    return gather


def average_of(accelerator: Accelerator) -> Across:
    """The mean over processes of what each has, without gradients; it is of one shape on all."""
    if accelerator.num_processes == 1:
        return alone

    def average(own: Tensor) -> Tensor:
        total = own.detach().clone()
        torch.distributed.all_reduce(total)
        total /= accelerator.num_processes
        return total

    return average


class _GatherRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, accelerator: Accelerator) -> Tensor:
        ctx.processes = accelerator.num_processes
        ctx.own = slice(*(len(rows) * (accelerator.process_index + end) for end in (0, 1)))
        everywhere: Tensor = accelerator.gather(rows.contiguous())
        return everywhere

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient[ctx.own] * ctx.processes, None


def check_same_weights(accelerator: Accelerator, trained: Trained, step: int) -> None:
    """Compare weights, average and moments over ranks, by the sum of each tensor's bit patterns.

    Of sharded tensors no two ranks hold the same part, so they are left out.

    Raises:
        DistvaeError: on all ranks alike; it names those that differ from rank 0.
    """
    if accelerator.num_processes == 1:
        return
    modules = (trained.model, trained.averaged)
    tensors = [value for module in modules if module for value in module.state_dict().values()]
    tensors += [*trained.objective_state().values(), *optimizer_tensors(trained).values()]
    sums = torch.stack([_bit_sum(tensor) for tensor in tensors if not hasattr(tensor, "to_local")])
    rows = accelerator.gather(sums[None]).cpu()
    different = [rank for rank, row in enumerate(rows) if not torch.equal(row, rows[0])]
    if different:
        count = max(int((rows[rank] != rows[0]).sum()) for rank in different)
        ranks = ", ".join(map(str, different))
        raise DistvaeError(
            f"the weights of rank {ranks} are not those of rank 0 after step {step}",
            f"all ranks must hold the same bits, and up to {count} of {sums.numel()} tensors of "
            "weights and moments differ",
            "No checkpoint was written; go on from the one before, and look for a faulty machine "
            "or for code that changes weights on some ranks only.",
        )


def _bit_sum(tensor: Tensor) -> Tensor:
    bits = tensor.detach().reshape(-1).view(_SAME_SIZE[tensor.element_size()])
    return bits.sum(dtype=torch.int64)
