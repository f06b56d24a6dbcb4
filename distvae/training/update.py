"""From the batches of one step to changed weights: with autograd, or as one compiled graph.

Legend: B batch, C channels, H height, W width, Z latent dimensions.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value

from distvae.checkpoint import Trained
from distvae.config import TrainConfig
from distvae.data.inputs import to_input
from distvae.models import VAE
from distvae.objectives import OBJECTIVES, Loss
from distvae.training.optimizer import OneCallAdamW
from distvae.training.sharding import is_sharded, own_parts

LossOf = Callable[[nn.Module, "Batch", Tensor], Loss]
"""(model, batch, KL weight) -> loss."""
Update = Callable[[int, list["Batch"], float, float, float], list[Loss]]
"""(steps taken before, micro-batches, learning rate, KL weight, averaging rate) -> their losses."""


class Batch(NamedTuple):
    """What a process sees of one micro-batch."""

    grey: Tensor
    """Grey levels, uint8 ``[B, C, H, W]``."""
    labels: Tensor | None
    """int64 ``[B]``, for a conditional model."""
    latent: Tensor
    """Standard normal ``[B, Z]``."""
    pixels: Tensor | None
    """Uniform int16 ``[B, C, H, W]``, for dynamic binarization."""


def loss_function(config: TrainConfig, dims: int) -> LossOf:
    """From stored grey levels to the loss, for images of ``dims`` pixels and channels."""
    objective = OBJECTIVES[config.objective.objective]
    binarize = config.data.binarize or "none"

    def loss_of(model: nn.Module, batch: Batch, weight: Tensor) -> Loss:
        inputs = to_input(batch.grey, binarize, batch.pixels)
        terms = model(inputs, batch.labels, batch.latent)
        return objective(terms, weight, config.objective, dims)

    return loss_of


def autograd_update(
    accelerator: Accelerator,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    trained: Trained,
    loss_of: LossOf,
    clip: float | None,
) -> Update:
    """Forward and backward for each micro-batch through Accelerate, then one optimizer step."""
    weight = torch.zeros((), device=accelerator.device)
    sharded = is_sharded(model)

    def update(
        step: int, batches: list[Batch], rate: float, kl: float, averaging: float
    ) -> list[Loss]:
        weight.fill_(kl)
        for group in optimizer.param_groups:
            group["lr"] = rate
        losses = []
        for batch in batches:
            with accelerator.accumulate(model):
                if sharded:  # Accelerate only holds back the sums of DDP
                    model.set_requires_gradient_sync(accelerator.sync_gradients)  # type: ignore[operator]
                loss = loss_of(model, batch, weight)
                accelerator.backward(loss.loss)
                if clip is not None and accelerator.sync_gradients:
                    accelerator.clip_grad_norm_(model.parameters(), clip)
            losses.append(Loss(loss.loss.detach(), loss.distortion.detach(), loss.rate.detach()))
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


class _Bare(nn.Module):
    """A model without the casts that Accelerate puts around its forward."""

    def __init__(self, model: VAE) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor, labels: Tensor | None, noise: Tensor) -> object:
        return VAE.forward(self.model, images, labels, noise)


def compiled_update(
    accelerator: Accelerator,
    optimizer: OneCallAdamW,
    trained: Trained,
    loss_of: LossOf,
    clip: float | None,
) -> Update:
    """The whole step as one compiled graph: noise in, weights, moments and average changed.

    For one process, one micro-batch and no gradient scaler. What changes from step to step goes in
    as a tensor, so that nothing is compiled twice.
    """
    bare = _Bare(trained.model)
    names = [name for name, _ in bare.named_parameters()]
    weights = [parameter.detach() for parameter in bare.parameters()]
    means = [optimizer.state[parameter]["exp_avg"] for parameter in bare.parameters()]
    squares = [optimizer.state[parameter]["exp_avg_sq"] for parameter in bare.parameters()]
    averages = [p.detach() for p in trained.averaged.parameters()] if trained.averaged else []
    group = optimizer.param_groups[0]
    (beta1, beta2), eps, decay = group["betas"], group["eps"], group["weight_decay"]
    device_type = accelerator.device.type
    precision = torch.bfloat16 if accelerator.mixed_precision == "bf16" else None

    def loss_at(at: list[Tensor], batch: Batch, kl: Tensor) -> tuple[Tensor, Loss]:
        def model(*inputs: Tensor | None) -> object:
            return functional_call(bare, dict(zip(names, at, strict=True)), inputs)

        with torch.autocast(device_type, precision, enabled=precision is not None):
            loss = loss_of(model, batch, kl)  # type: ignore[arg-type]
        return loss.loss, (loss.distortion, loss.rate)  # type: ignore[return-value]

    @torch.compile(dynamic=False, fullgraph=True)
    def whole_step(batch: Batch, numbers: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        kl, rate, mean_scale, square_scale, averaging = numbers.unbind()
        gradients, (loss, (distortion, latent_rate)) = grad_and_value(loss_at, has_aux=True)(
            weights, batch, kl
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
        for average, weight in zip(averages, weights, strict=bool(averages)):
            average.lerp_(weight, averaging)
        return loss, distortion, latent_rate

    def update(
        step: int, batches: list[Batch], rate: float, kl: float, averaging: float
    ) -> list[Loss]:
        (batch,) = batches
        optimizer.count += 1
        scales = 1.0 / (1.0 - beta1 ** (step + 1)), 1.0 / (1.0 - beta2 ** (step + 1))
        numbers = torch.tensor([kl, rate, *scales, averaging], device=accelerator.device)
        with torch.no_grad():
            return [Loss(*whole_step(batch, numbers))]

    return update
