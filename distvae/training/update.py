"""From the batches of one step to changed weights: with autograd, or as one compiled graph.

Legend: B batch, K draws for an image, C channels, H height, W width, Z latent dimensions.
"""

from collections.abc import Callable

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value

from distvae.batch import Batch
from distvae.checkpoint import Trained
from distvae.config import TrainConfig
from distvae.models import VAE
from distvae.objectives import Loss, Objective, Pressure
from distvae.training.optimizer import OneCallAdamW
from distvae.training.sharding import is_sharded, own_parts

LossOf = Callable[[nn.Module, Batch, Pressure], Loss]
"""(model with its objective, batch, KL weight and capacity) -> loss."""
Update = Callable[[int, list[Batch], float, Pressure, float], list[Loss]]
"""(steps taken before, micro-batches, learning rate, KL weight and capacity, averaging rate) ->
their losses."""


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
    training: nn.Module,
    optimizer: torch.optim.Optimizer,
    trained: Trained,
    loss_of: LossOf,
    clip: float | None,
) -> Update:
    """Forward and backward for each micro-batch through Accelerate, then one optimizer step."""
    scalars = torch.zeros(len(Pressure._fields), device=accelerator.device).unbind()
    sharded = is_sharded(training)

    def update(
        step: int, batches: list[Batch], rate: float, pressure: Pressure, averaging: float
    ) -> list[Loss]:
        for scalar, value in zip(scalars, pressure, strict=True):
            scalar.fill_(value)
        for group in optimizer.param_groups:
            group["lr"] = rate
        losses = []
        for batch in batches:
            with accelerator.accumulate(training):
                if sharded:  # Accelerate only holds back the sums of DDP
                    training.set_requires_gradient_sync(accelerator.sync_gradients)  # type: ignore[operator]
                loss = loss_of(training, batch, Pressure(*scalars))
                accelerator.backward(loss.loss)
                if clip is not None and accelerator.sync_gradients:
                    accelerator.clip_grad_norm_(training.parameters(), clip)
            losses.append(loss.detach())
        optimizer.step()
        optimizer.zero_grad()
        if trained.averaged is not None:
            with torch.no_grad():
                torch._foreach_lerp_(
                    own_parts(trained.averaged.parameters()),
                    own_parts(trained.model.parameters()),
                    averaging,
                )
        return losses

    return update


def compiled_update(
    accelerator: Accelerator,
    training: Training,
    optimizer: OneCallAdamW,
    trained: Trained,
    loss_of: LossOf,
    clip: float | None,
) -> Update:
    """The whole step as one compiled graph: noise in, weights, moments and average changed.

    For one process, one micro-batch and no gradient scaler. What changes from step to step goes in
    as a tensor, so that nothing is compiled twice.
    """
    # a new one, without the casts that Accelerate puts around the forward of the other
    bare = Training(training.model, training.objective)
    names = [name for name, _ in bare.named_parameters()]
    weights = [parameter.detach() for parameter in bare.parameters()]
    means = [optimizer.state[parameter]["exp_avg"] for parameter in bare.parameters()]
    squares = [optimizer.state[parameter]["exp_avg_sq"] for parameter in bare.parameters()]
    averages = [p.detach() for p in trained.averaged.parameters()] if trained.averaged else []
    group = optimizer.param_groups[0]
    (beta1, beta2), eps, decay = group["betas"], group["eps"], group["weight_decay"]

    def loss_at(
        at: list[Tensor], batch: Batch, pressure: Pressure
    ) -> tuple[Tensor, tuple[Tensor, Tensor, dict[str, Tensor]]]:
        def model(*inputs: object) -> object:
            return functional_call(bare, dict(zip(names, at, strict=True)), inputs)

        loss = loss_of(model, batch, pressure)  # type: ignore[arg-type]
        return loss.loss, (loss.distortion, loss.rate, dict(loss.extras))

    @torch.compile(dynamic=False, fullgraph=True)
    def whole_step(
        batch: Batch, numbers: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, dict[str, Tensor]]:
        rate, mean_scale, square_scale, averaging, *pressure = numbers.unbind()
        gradients, (loss, rest) = grad_and_value(loss_at, has_aux=True)(
            weights, batch, Pressure(*pressure)
        )
        if clip is not None:
            norm = torch.stack([gradient.square().sum() for gradient in gradients]).sum().sqrt()
            factor = (clip / (norm + 1e-6)).clamp(max=1.0)
            gradients = [gradient * factor for gradient in gradients]
        for weight, gradient, mean, square in zip(weights, gradients, means, squares, strict=True):
            mean.lerp_(gradient, 1.0 - beta1)
            square.mul_(beta2).addcmul_(gradient, gradient, value=1.0 - beta2)
            change = (mean * mean_scale) / ((square * square_scale).sqrt() + eps)
            weight.copy_(weight * (1.0 - rate * decay) - rate * change)
        for average, weight in zip(averages, weights, strict=False):  # the model's come first
            average.lerp_(weight, averaging)
        return loss, *rest

    def update(
        step: int, batches: list[Batch], rate: float, pressure: Pressure, averaging: float
    ) -> list[Loss]:
        (batch,) = batches
        optimizer.count += 1
        scales = 1.0 / (1.0 - beta1 ** (step + 1)), 1.0 / (1.0 - beta2 ** (step + 1))
        numbers = torch.tensor([rate, *scales, averaging, *pressure], device=accelerator.device)
        with torch.no_grad():
            return [Loss(*whole_step(batch, numbers))]

    return update
