"""From the batches of one step to changed weights, with autograd.

Legend: B batch, K draws for an image, C channels, H height, W width, Z latent dimensions.
"""

from collections.abc import Callable

import torch
from accelerate import Accelerator
from torch import nn

from distvae.batch import Batch
from distvae.checkpoint import Trained
from distvae.config import TrainConfig
from distvae.models import VAE
from distvae.objectives import MODEL, Loss, Objective, Pressure
from distvae.training.players import Rates, Turn, average_gradients, turns
from distvae.training.sharding import is_sharded, local_parts

LossOf = Callable[[nn.Module, Batch, Pressure], Loss]
"""(model with its objective, batch, what the schedules say) -> losses."""
Update = Callable[[int, list[Batch], Rates, Pressure, float], list[Loss]]
"""(steps taken before, micro-batches, learning rates, what the schedules say, averaging rate) ->
the losses in the last turn."""


class Training(nn.Module):
    """A model and its objective: one module, so that all that is trained is wrapped together."""

    def __init__(self, model: VAE, objective: Objective) -> None:
        super().__init__()
        self.model = model
        self.objective = objective

    def forward(self, batch: Batch, pressure: Pressure) -> Loss:
        """See :meth:`distvae.objectives.Objective.forward`."""
        loss: Loss = self.objective(self.model, batch, pressure)
        return loss

    def parts(self) -> dict[str, nn.Module]:
        """What each player trains."""
        return {
            name: self.model if name == MODEL else self.objective.get_submodule(name)
            for name in self.objective.players
        }


def loss_function(config: TrainConfig, device_type: str) -> LossOf:
    """From a batch to the loss, with networks in bf16 where the settings say so.

    fp16, whose gradients are scaled, is Accelerate's.
    """
    half = config.optim.mixed_precision == "bf16"

    def loss_of(training: nn.Module, batch: Batch, pressure: Pressure) -> Loss:
        with torch.autocast(device_type, torch.bfloat16, enabled=half):
            loss: Loss = training(batch, pressure)
        return loss

    return loss_of


def autograd_update(
    accelerator: Accelerator,
    wrapped: nn.Module,
    optimizer: torch.optim.Optimizer,
    trained: Trained,
    loss_of: LossOf,
    clip: float | None,
) -> Update:
    """Forward and backward for each micro-batch through Accelerate, then one optimizer step.

    So in each turn of the players; the moving average follows after the last.
    """
    scalars = torch.zeros(len(Pressure._fields), device=accelerator.device).unbind()
    sharded = is_sharded(wrapped)
    training: Training = accelerator.unwrap_model(wrapped)
    players = training.objective.players

    def update(
        step: int, batches: list[Batch], rates: Rates, pressure: Pressure, averaging: float
    ) -> list[Loss]:
        for scalar, value in zip(scalars, pressure, strict=True):
            scalar.fill_(value)
        for group in optimizer.param_groups:
            group["lr"] = rates[group["name"]]
        for turn in turns(players, step):
            losses = take_turn(turn, batches)
        if trained.averaged is not None:
            with torch.no_grad():
                torch._foreach_lerp_(
                    local_parts(trained.averaged.parameters()),
                    local_parts(trained.model.parameters()),
                    averaging,
                )
        return losses

    def take_turn(turn: Turn, batches: list[Batch]) -> list[Loss]:
        losses = []
        moves = MODEL in turn
        for batch in batches:
            with accelerator.accumulate(wrapped):
                if sharded and moves:  # Accelerate only holds back the sums of DDP
                    training.set_requires_gradient_sync(accelerator.sync_gradients)  # type: ignore[operator]
                # DDP would wait for gradients of the model that do not come
                loss = loss_of(wrapped if moves else training, batch, Pressure(*scalars))
                accelerator.backward(loss.total(turn))
            losses.append(loss.detach())
        _settle_gradients(turn, optimizer, accelerator, clip)
        optimizer.step()
        optimizer.zero_grad()
        return losses

    return update


def _settle_gradients(
    turn: Turn, optimizer: torch.optim.Optimizer, accelerator: Accelerator, clip: float | None
) -> None:
    """Make the gradients of a turn those of the whole batch, those of each player within bounds."""
    for group in optimizer.param_groups:
        if group["name"] not in turn:
            for parameter in group["params"]:  # a compiled pass gives zeros
                parameter.grad = None
        elif group["name"] != MODEL:
            average_gradients(group["params"], accelerator.num_processes)
    if clip is not None:
        accelerator.unscale_gradients()
        for group in optimizer.param_groups:
            if group["name"] in turn:
                nn.utils.clip_grad_norm_(group["params"], clip)
