"""What is trained, as a step calls it: model and objective wrapped by Accelerate, an optimizer."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from accelerate import Accelerator
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from distvae.batch import Batch
from distvae.checkpoint import Trained
from distvae.config import OptimConfig
from distvae.models import VAE
from distvae.objectives import MODEL, PRIOR, Loss, Objective, Pressure
from distvae.training.optimizer import OneCallAdamW
from distvae.training.players import Turn
from distvae.training.sharding import shard_model, shards_model
from distvae.training.skipping import GradientGuard


class Training(nn.Module):
    """A model and its objective: one module, so that all that is trained is wrapped together."""

    def __init__(self, model: VAE, objective: Objective) -> None:
        super().__init__()
        self.model = model
        self.objective = objective
        model.latents.begin(True)  # what learns in passes waits for the first step

    def forward(self, batch: Batch, pressure: Pressure) -> Loss:
        """See :meth:`distvae.objectives.Objective.forward`.

        A second stage minimizes the rate, and what the objective has the prior minimize beside it.
        """
        loss: Loss = self.objective(self.model, batch, pressure)
        if self.model.latents.second_stage is None:
            return loss
        own = loss.rate.mean() + loss.others.get(PRIOR, 0.0)
        return replace(loss, others={**loss.others, PRIOR: own})

    @property
    def compiles(self) -> bool:
        """Whether a pass is a function that a compiler may take apart."""
        return self.objective.compiles and self.model.latents.compiles

    def begin(self, turns: Sequence[Turn]) -> None:
        """Told before steps who moves in them."""
        self.model.latents.begin(all(MODEL not in turn for turn in turns))
        self.objective.begin({name for turn in turns for name in turn})

    def parts(self) -> dict[str, nn.Module]:
        """What each player trains; of the model what no other does."""
        second = self.model.latents.second_stage
        found: dict[str, nn.Module] = {} if second is None else {PRIOR: second.network}
        names = (name for name in self.objective.players if name not in (MODEL, *found))
        return {
            MODEL: self.model,
            **{name: self.objective.get_submodule(name) for name in names},
            **found,
        }

    def parameters_of(self, player: str) -> dict[float, list[nn.Parameter]]:
        """What a player trains, by how many times its learning rate."""
        parts = self.parts()
        others = {
            id(one) for name, part in parts.items() if name != player for one in part.parameters()
        }
        found = by_factor(parts[player])
        if player != MODEL:
            return found
        kept = {
            factor: [one for one in parameters if id(one) not in others]
            for factor, parameters in found.items()
        }
        return {factor: parameters for factor, parameters in kept.items() if parameters}


@dataclass(frozen=True)
class Wrapped:
    """Model, objective and optimizer, bare and as Accelerate has wrapped them."""

    accelerator: Accelerator
    trained: Trained
    """What a checkpoint holds."""
    training: Training
    """The model and its objective."""
    forward: nn.Module
    """The same as a step calls it."""
    optimizer: OneCallAdamW
    stepped: torch.optim.Optimizer
    """The optimizer as a step calls it: wrapped where gradients are scaled."""
    clip: float | None
    """Largest norm of the gradient of a player."""

    def parameters(self, player: str) -> list[nn.Parameter]:
        """All that a player trains."""
        return [one for group in self.optimizer.groups(player) for one in group["params"]]


def wrap(
    model: VAE,
    averaged: VAE | None,
    objective: Objective,
    optim: OptimConfig,
    accelerator: Accelerator,
) -> Wrapped:
    """Move model and objective to the device of the run and wrap them; the optimizer is new.

    Args:
        model: what is trained.
        averaged: its moving average, None without one.
        objective: by which it is trained.
        optim: learning rate, weight decay and clipping.
        accelerator: with its process group up.
    """
    training = Training(model, objective).to(accelerator.device)
    forward = _forward(training, averaged, accelerator)
    optimizer, stepped = _optimizers(training, optim, accelerator)
    factor = optim.skip_above
    guard = None if factor is None else GradientGuard(factor, accelerator.device)
    trained = Trained(model, averaged, optimizer, objective, guard)
    return Wrapped(accelerator, trained, training, forward, optimizer, stepped, optim.clip)


def _forward(training: Training, averaged: VAE | None, accelerator: Accelerator) -> nn.Module:
    """Model and objective as they are called in a step, sharded where that was asked for.

    Of gradients, DDP averages those of the player of the model alone. What is fixed in terms does
    not travel.
    """
    own = {id(one) for each in training.parameters_of(MODEL).values() for one in each}
    others = [name for name, one in training.named_parameters() if id(one) not in own]
    fixed = {id(one) for term in training.objective.terms.values() for one in term.buffers()}
    others += [name for name, one in training.named_buffers() if id(one) in fixed]
    if others:
        DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(training, others)  # type: ignore[no-untyped-call]
    sharded = shards_model(accelerator.num_processes)
    if sharded:
        shard_model(training, training.model, accelerator.device.type)
        if averaged is not None:
            shard_model(averaged, averaged, accelerator.device.type)
    wrapped: nn.Module = accelerator.prepare_model(
        training,
        device_placement=False,  # it is there, and looking for DTensors imports all of them
        evaluation_mode=sharded,  # which only casts
    )
    return wrapped


def _optimizers(
    training: Training, optim: OptimConfig, accelerator: Accelerator
) -> tuple[OneCallAdamW, torch.optim.Optimizer]:
    """The optimizer, and the same as it is called in a step.

    Accelerate's own scales fp16, and skips the step while gradients are accumulated, which the
    update does itself; it also looks for packages on the disk in every step. Between processes on a
    CPU, and to place them, it replaces the moments by copies, and OneCallAdamW keeps lists of them.
    """
    optimizer = OneCallAdamW(
        list(_groups(training, optim.weight_decay)),
        lr=optim.peak_rate,
        eps=optim.adam_eps,
    )
    if accelerator.scaler is None:
        return optimizer, optimizer
    return optimizer, accelerator.prepare_optimizer(optimizer, device_placement=False)


def _groups(training: Training, weight_decay: float) -> Iterator[dict[str, Any]]:
    """The parameters of each player that learn equally fast, and what they have of their own.

    A weight that learns faster decays no faster.
    """
    for name, player in training.objective.players.items():
        decay = weight_decay if player.weight_decay is None else player.weight_decay
        for factor, parameters in training.parameters_of(name).items():
            yield {
                "params": parameters,
                "name": name,
                "factor": factor,
                "betas": player.betas,
                "weight_decay": decay / factor,
            }


def by_factor(part: nn.Module) -> dict[float, list[nn.Parameter]]:
    """The parameters of a player, by how many times its learning rate they are trained at.

    A module says so of its own parameters by its ``learning_rate_factor``; of most it is 1.
    """
    groups: dict[float, list[nn.Parameter]] = {}
    for module in part.modules():
        factor = float(getattr(module, "learning_rate_factor", 1.0))
        for parameter in module.parameters(recurse=False):
            groups.setdefault(factor, []).append(parameter)
    return groups
