"""From the batches of one step to changed weights, and how that is done with autograd.

Legend: M micro-batches of a process, F numbers of a loss, S numbers of a step.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from distvae.batch import Batch
from distvae.config import TrainConfig
from distvae.kernels import launched
from distvae.objectives import MODEL, Loss, Pressure, Summary, summary
from distvae.training.optimizer import laid_alike
from distvae.training.plan import Scales, numbers_of
from distvae.training.players import Turn, average_gradients
from distvae.training.sharding import is_sharded, local_parts
from distvae.training.skipping import marked, verdict_of
from distvae.training.wrapping import Wrapped

if TYPE_CHECKING:
    from distvae.kernels.many import Together

LossOf = Callable[[nn.Module, Batch, Pressure], Loss]
"""(model with its objective, batch, what the schedules say) -> losses."""
Update = Callable[[tuple[Turn, ...], Sequence[Batch], Tensor], Summary]
"""(turns, micro-batches, numbers of the step ``[S]``) -> the losses in the last turn ``[M, F]``."""
TakeTurn = Callable[[Turn, Sequence[Batch], Pressure, Mapping[str, Scales]], list[Loss]]
"""(who moves, micro-batches, what the schedules say, scales by player) -> losses of each batch."""


def loss_function(config: TrainConfig, device_type: str) -> LossOf:
    """From a batch to the loss, with networks in bf16 where the settings say so.

    fp16, whose gradients are scaled, is Accelerate's.
    """

    def loss_of(training: nn.Module, batch: Batch, pressure: Pressure) -> Loss:
        loss: Loss = training(batch, pressure)
        return loss

    def half(training: nn.Module, batch: Batch, pressure: Pressure) -> Loss:
        with torch.autocast(device_type, torch.bfloat16):
            return loss_of(training, batch, pressure)

    return half if config.optim.mixed_precision == "bf16" else loss_of


def update_by(take_turn: TakeTurn, wrapped: Wrapped) -> Update:
    """A step: the turns of the players, then the moving average.

    Args:
        take_turn: moves those whose turn it is.
        wrapped: what is trained.
    """
    averaged, model = wrapped.trained.averaged, wrapped.trained.model
    averages = [] if averaged is None else local_parts(p.detach() for p in averaged.parameters())
    weights = local_parts(parameter.detach() for parameter in model.parameters())
    follow = follower(averages, weights)
    learned = [] if averaged is None else list(zip(_kept(averaged), _kept(model), strict=True))

    def update(turns: tuple[Turn, ...], batches: Sequence[Batch], row: Tensor) -> Summary:
        numbers = numbers_of(row, turns)
        for turn, scales in zip(turns, numbers.scales, strict=True):
            losses = take_turn(turn, batches, numbers.pressure, scales)
        with torch.no_grad():
            follow(numbers.averaging)
            for copied, buffer in learned:
                copied.copy_(buffer)
            return summary(losses)

    return update


def _kept(model: nn.Module) -> list[Tensor]:
    """Buffers that files hold: what a model learns without gradients."""
    state = {id(value) for value in model.state_dict(keep_vars=True).values()}
    return [buffer for buffer in model.buffers() if id(buffer) in state]


def follower(averages: list[Tensor], weights: list[Tensor]) -> Callable[[Tensor], None]:
    """What moves each average by a share of its way to the weight.

    Compiled, that goes into the kernels that make the weights. Else a GPU has one kernel for all,
    of this package where it can be had; torch's ``lerp`` would be one for each weight.
    """
    tables: list[Together] = []

    def follow(share: Tensor) -> None:
        if not averages:
            return
        if launched(share, *averages) and laid_alike(averages, weights):
            from distvae.kernels import many

            if not tables:
                tables.append(many.Together(averages, weights))
            many.follow(tables[0], share)
        elif torch.compiler.is_compiling() or averages[0].device.type != "cpu":
            for part in together(weights):
                ways = torch._foreach_mul(torch._foreach_sub(weights[part], averages[part]), share)
                torch._foreach_add_(averages[part], ways)
        else:
            torch._foreach_lerp_(averages, weights, [share] * len(averages))

    return follow


def together(tensors: Sequence[Tensor], paces: Sequence[object] | None = None) -> list[slice]:
    """Which tensors a compiled step changes at once.

    On a GPU those of one pace are one kernel. On a CPU each is a loop of its own, right after its
    gradient, which is then still in the cache.

    Args:
        tensors: that are changed alike, on one device.
        paces: what differs between them; left out, nothing does. Equal ones follow each other.
    """
    if tensors[0].device.type == "cpu":
        return [slice(at, at + 1) for at in range(len(tensors))]
    found, start = [], 0
    for _, equal in itertools.groupby(paces or [None] * len(tensors)):
        stop = start + len(list(equal))
        found.append(slice(start, stop))
        start = stop
    return found


def autograd_update(wrapped: Wrapped, loss_of: LossOf) -> Update:
    """Forward and backward for each micro-batch, then one optimizer step; so in each turn.

    Accelerate holds back what processes exchange until the last micro-batch, and scales fp16. Where
    there is neither to do it is not asked, as its questions take longer than a small layer.
    """
    accelerator, optimizer, forward = wrapped.accelerator, wrapped.optimizer, wrapped.forward
    sharded, guard = is_sharded(forward), wrapped.trained.guard
    simple = accelerator.gradient_accumulation_steps == 1 and accelerator.scaler is None

    def backward(batch: Batch, pressure: Pressure, turn: Turn) -> Loss:
        # DDP would wait for gradients of the model that do not come
        loss = loss_of(forward if MODEL in turn else wrapped.training, batch, pressure)
        total = loss.total(turn)
        if simple:
            torch.autograd.backward(total)
        else:
            accelerator.backward(total)
        return loss.detach()

    def in_parts(batch: Batch, pressure: Pressure, turn: Turn) -> Loss:
        with accelerator.accumulate(forward):
            if sharded and MODEL in turn:  # Accelerate only holds back the sums of DDP
                wrapped.training.set_requires_gradient_sync(accelerator.sync_gradients)  # type: ignore[operator]
            return backward(batch, pressure, turn)

    def take_turn(
        turn: Turn, batches: Sequence[Batch], pressure: Pressure, scales: Mapping[str, Scales]
    ) -> list[Loss]:
        take = backward if len(batches) == 1 else in_parts
        losses = [take(batch, pressure, turn) for batch in batches]
        _settle_gradients(turn, wrapped)
        left_out = None
        if guard is not None:
            of_turn = (one for player in turn for one in wrapped.parameters(player))
            left_out = verdict_of(guard, (parameter.grad for parameter in of_turn))
        _clip_gradients(turn, wrapped)
        for name, scale in scales.items():
            for group in optimizer.groups(name):
                group["lr"] = scale.rate if group["factor"] == 1.0 else group["factor"] * scale.rate
        if accelerator.scaler is None:
            optimizer.move(left_out)
        else:
            wrapped.stepped.step()
        optimizer.zero_grad()
        if left_out is not None:
            return [marked(loss, left_out) for loss in losses]
        return losses

    return update_by(take_turn, wrapped)


def _settle_gradients(turn: Turn, wrapped: Wrapped) -> None:
    """Make the gradients of a turn those of the whole batch."""
    for group in wrapped.optimizer.param_groups:
        if group["name"] not in turn:
            for parameter in group["params"]:  # a compiled pass gives zeros
                parameter.grad = None
        elif group["name"] != MODEL:
            average_gradients(group["params"], wrapped.accelerator.num_processes)


def _clip_gradients(turn: Turn, wrapped: Wrapped) -> None:
    """Hold those of each player within bounds."""
    if wrapped.clip is not None:
        wrapped.accelerator.unscale_gradients()
        for player in turn:
            nn.utils.clip_grad_norm_(wrapped.parameters(player), wrapped.clip)
