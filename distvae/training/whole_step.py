"""A whole step as one compiled graph.

Legend: S numbers of a step.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor
from torch.func import functional_call, grad_and_value

from distvae.batch import Batch
from distvae.objectives import Loss, Pressure, Summary
from distvae.training.lowering import compile_step
from distvae.training.plan import Scales
from distvae.training.players import Turn
from distvae.training.skipping import marked, verdict_of
from distvae.training.update import LossOf, Update, together, update_by
from distvae.training.wrapping import Training, Wrapped

Weights = dict[str, list[Tensor]]
"""By player."""
Values = tuple[Tensor, Tensor, Tensor, dict[str, Tensor], dict[str, Tensor]]
"""The fields of a loss."""


def compiled_update(wrapped: Wrapped, loss_of: LossOf, own: bool = False) -> Update:
    """The whole step as one compiled graph: noise in, weights, moments and average changed.

    For one process, one micro-batch and no gradient scaler. What changes from step to step goes in
    as a tensor, so that nothing is compiled twice, but where a player starts later than others.

    Args:
        wrapped: what is trained.
        loss_of: from a batch to the losses.
        own: whether matrices are multiplied by the kernel of this package.
    """
    # a new one, without the casts that Accelerate puts around the forward of the other
    bare = Training(wrapped.training.model, wrapped.training.objective)
    players = bare.objective.players
    weights = {name: [p.detach() for p in wrapped.parameters(name)] for name in players}
    total_of = _functional(wrapped, bare, weights, loss_of)
    change = {name: _change(wrapped, name, weights[name]) for name in players}
    guard = wrapped.trained.guard

    def take_turn(
        turn: Turn, batches: Sequence[Batch], pressure: Pressure, scales: Mapping[str, Scales]
    ) -> list[Loss]:
        (batch,) = batches
        own = {name: weights[name] for name in turn}
        gradients, (_, values) = grad_and_value(total_of, has_aux=True)(own, batch, pressure)
        left_out = None
        if guard is not None:
            left_out = verdict_of(guard, [part for name in turn for part in gradients[name]])
        for name in turn:
            change[name](gradients[name], scales[name], left_out)
        return [Loss(*values) if left_out is None else marked(Loss(*values), left_out)]

    take_step = update_by(take_turn, wrapped)

    def whole_step(turns: tuple[Turn, ...], batches: Sequence[Batch], row: Tensor) -> Summary:
        return take_step(turns, batches, row.float())

    compiled = compile_step(whole_step, own, wrapped.accelerator.device.type)

    def update(turns: tuple[Turn, ...], batches: Sequence[Batch], row: Tensor) -> Summary:
        with torch.no_grad():
            result: Summary = compiled(turns, batches, row)
        return result

    return update


def _functional(
    wrapped: Wrapped, bare: Training, weights: Weights, loss_of: LossOf
) -> Callable[[Weights, Batch, Pressure], tuple[Tensor, Values]]:
    """The losses as a function of the weights of some players, the others' as they are."""
    names_of = {id(parameter): name for name, parameter in bare.named_parameters()}
    names = {
        name: [names_of[id(parameter)] for parameter in wrapped.parameters(name)]
        for name in weights
    }

    def total_of(own: Weights, batch: Batch, pressure: Pressure) -> tuple[Tensor, Values]:
        at: dict[str, Tensor] = {}
        for name, tensors in {**weights, **own}.items():
            at.update(zip(names[name], tensors, strict=True))

        def model(*inputs: object) -> object:
            return functional_call(bare, at, inputs)

        loss = loss_of(model, batch, pressure)  # type: ignore[arg-type]
        values = loss.loss, loss.distortion, loss.rate, dict(loss.extras), dict(loss.others)
        return loss.total(tuple(own)), values

    return total_of


def _change(
    wrapped: Wrapped, player: str, weights: list[Tensor]
) -> Callable[[list[Tensor], Scales, Tensor | None], None]:
    """A step of AdamW of one player: (gradients, scales, 1 where it is left out) -> None."""
    optimizer, clip = wrapped.optimizer, wrapped.clip
    groups = optimizer.groups(player)
    states = [optimizer.state[parameter] for parameter in wrapped.parameters(player)]
    counts = [optimizer.state[group["params"][0]]["step"] for group in groups]
    means = [state["exp_avg"] for state in states]
    squares = [state["exp_avg_sq"] for state in states]
    (beta1, beta2), eps = groups[0]["betas"], groups[0]["eps"]
    paces = [(group["factor"], group["weight_decay"]) for group in groups for _ in group["params"]]

    def move(gradients: list[Tensor], scales: Scales) -> None:
        if clip is not None:
            norm = torch.stack([gradient.square().sum() for gradient in gradients]).sum().sqrt()
            factor = (clip / (norm + 1e-6)).clamp(max=1.0)
            gradients = torch._foreach_mul(gradients, factor)  # type: ignore[assignment]
        for part in together(weights, paces):
            (factor, decay), mean, square = paces[part][0], means[part], squares[part]
            torch._foreach_lerp_(mean, gradients[part], 1.0 - beta1)
            torch._foreach_mul_(square, beta2)
            torch._foreach_addcmul_(square, gradients[part], gradients[part], 1.0 - beta2)
            roots = torch._foreach_sqrt(torch._foreach_mul(square, scales.square))
            changes = torch._foreach_mul(mean, scales.mean)
            torch._foreach_div_(changes, torch._foreach_add(roots, eps))
            rate = scales.rate * factor
            torch._foreach_mul_(weights[part], 1.0 - rate * decay)
            torch._foreach_sub_(weights[part], torch._foreach_mul(changes, rate))

    def change(gradients: list[Tensor], scales: Scales, left_out: Tensor | None) -> None:
        torch._foreach_add_(counts, 1)
        held = [] if left_out is None else [*weights, *means, *squares]
        before = [tensor.clone() for tensor in held]  # no copy, once compiled
        move(gradients, scales)
        for tensor, old in zip(held, before, strict=True):
            assert left_out is not None
            tensor.copy_(torch.where(left_out > 0, old, tensor))

    return change
