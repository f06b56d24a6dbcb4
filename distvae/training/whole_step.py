"""From the batch of one step to changed weights, as one compiled graph.

Legend: B batch, K draws for an image, C channels, H height, W width, Z latent dimensions.
"""

from collections.abc import Callable, Iterator, Mapping

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.func import functional_call, grad_and_value

from distvae.batch import Batch
from distvae.checkpoint import Trained
from distvae.objectives import MODEL, Loss, Player, Pressure
from distvae.training.optimizer import OneCallAdamW
from distvae.training.players import Rates, Turn, turns
from distvae.training.update import LossOf, Training, Update

Weights = dict[str, list[Tensor]]
"""By player."""
Values = tuple[Tensor, Tensor, Tensor, dict[str, Tensor], dict[str, Tensor]]
"""The fields of a loss."""


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
    as a tensor, so that nothing is compiled twice, but where a player starts later than others.
    """
    # a new one, without the casts that Accelerate puts around the forward of the other
    bare = Training(training.model, training.objective)
    players = bare.objective.players
    parts = bare.parts()
    weights = {name: [p.detach() for p in part.parameters()] for name, part in parts.items()}
    averages = [p.detach() for p in trained.averaged.parameters()] if trained.averaged else []
    total_of = _functional(bare, weights, loss_of)
    groups = {group["name"]: group for group in optimizer.param_groups}
    change = {name: _change(optimizer, name, weights[name], clip) for name in groups}
    betas = {name: group["betas"] for name, group in groups.items()}

    @torch.compile(dynamic=False, fullgraph=True)
    def whole_step(batch: Batch, numbers: Tensor, taken: list[Turn]) -> Values:
        averaging, *scalars = numbers.unbind()
        pressure = Pressure(*scalars[: len(Pressure._fields)])
        scales = scalars[len(Pressure._fields) :]
        for turn in taken:
            own = {name: weights[name] for name in turn}
            gradients, (_, values) = grad_and_value(total_of, has_aux=True)(own, batch, pressure)
            for name in turn:
                change[name](gradients[name], *scales[:3])
                scales = scales[3:]
        for average, weight in zip(averages, weights[MODEL], strict=False):  # or there are none
            average.lerp_(weight, averaging)
        found: Values = values
        return found

    def update(
        step: int, batches: list[Batch], rates: Rates, pressure: Pressure, averaging: float
    ) -> list[Loss]:
        (batch,) = batches
        taken = turns(players, step)
        for turn in taken:
            optimizer.count(turn)
        numbers = [averaging, *pressure, *_scales(taken, step, players, betas, rates)]
        with torch.no_grad():
            return [
                Loss(*whole_step(batch, torch.tensor(numbers, device=accelerator.device), taken))
            ]

    return update


def _functional(
    bare: Training, weights: Weights, loss_of: LossOf
) -> Callable[[Weights, Batch, Pressure], tuple[Tensor, Values]]:
    """The losses as a function of the weights of some players, the others' as they are."""
    names_of = {id(parameter): name for name, parameter in bare.named_parameters()}
    names = {
        name: [names_of[id(parameter)] for parameter in part.parameters()]
        for name, part in bare.parts().items()
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
    optimizer: OneCallAdamW, player: str, weights: list[Tensor], clip: float | None
) -> Callable[[list[Tensor], Tensor, Tensor, Tensor], None]:
    """A step of AdamW of one player: (gradients, rate, scale of mean, scale of square) -> None."""
    group = next(group for group in optimizer.param_groups if group["name"] == player)
    states = [optimizer.state[parameter] for parameter in group["params"]]
    means = [state["exp_avg"] for state in states]
    squares = [state["exp_avg_sq"] for state in states]
    (beta1, beta2), eps, decay = group["betas"], group["eps"], group["weight_decay"]

    def change(
        gradients: list[Tensor], rate: Tensor, mean_scale: Tensor, square_scale: Tensor
    ) -> None:
        if clip is not None:
            norm = torch.stack([gradient.square().sum() for gradient in gradients]).sum().sqrt()
            factor = (clip / (norm + 1e-6)).clamp(max=1.0)
            gradients = [gradient * factor for gradient in gradients]
        for weight, gradient, mean, square in zip(weights, gradients, means, squares, strict=True):
            mean.lerp_(gradient, 1.0 - beta1)
            square.mul_(beta2).addcmul_(gradient, gradient, value=1.0 - beta2)
            change = (mean * mean_scale) / ((square * square_scale).sqrt() + eps)
            weight.copy_(weight * (1.0 - rate * decay) - rate * change)

    return change


def _scales(
    taken: list[Turn],
    step: int,
    players: Mapping[str, Player],
    betas: Mapping[str, tuple[float, float]],
    rates: Rates,
) -> Iterator[float]:
    """For each player in each turn its learning rate and the corrections of its two moments."""
    counts = {name: player.taken(step) for name, player in players.items()}
    for turn in taken:
        for name in turn:
            counts[name] += 1
            yield rates[name]
            yield from (1.0 / (1.0 - beta ** counts[name]) for beta in betas[name])
