"""Whose turn it is in a step, at which learning rates, and gradients that processes average."""

import sys
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from distvae.objectives import Player
from distvae.schedules import Parts, learning_rate

Turn = tuple[str, ...]
"""Names of the players that take a step together."""
Rates = Mapping[str, float]
"""Learning rates of a step by player."""


def turns(players: Mapping[str, Player], step: int) -> list[Turn]:
    """The turns of a step of the run: all players in the last, in those before who takes more."""
    steps = {name: player.steps for name, player in players.items() if player.moves(step)}
    return [
        tuple(name for name in steps if steps[name] >= left)
        for left in range(max(steps.values()), 0, -1)
    ]


def same_turns(players: Mapping[str, Player], step: int) -> int:
    """So many steps, from this one on, have the same turns; without end, as many as there are."""
    edges = (player.stage or (player.start,) for player in players.values())
    coming = [edge for each in edges for edge in each if edge > step]
    return min(coming, default=sys.maxsize) - step


def learning_rates(
    players: Mapping[str, Player], parts: Parts, step: int, peak: float
) -> dict[str, float]:
    """The learning rate of each player in a step of the run.

    Args:
        players: by name.
        parts: schedule of the run.
        step: steps taken before this one.
        peak: the run's highest rate, to which those of players of their own are held.
    """
    return {
        name: learning_rate(parts, step, player.schedule, player.stage)
        * (1.0 if player.learning_rate is None else player.learning_rate / peak)
        for name, player in players.items()
    }


def average_gradients(parameters: Sequence[Tensor], processes: int) -> None:
    """Average the gradients of a network that every process holds whole, in one exchange.

    DDP and FSDP look after those of the model alone, and would wait for all of them in the turns
    of others.
    """
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if processes == 1 or not gradients:
        return
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    torch.distributed.all_reduce(flat)
    flat /= processes
    sizes = [gradient.numel() for gradient in gradients]
    for gradient, part in zip(gradients, torch.split(flat, sizes), strict=True):
        gradient.copy_(part.view_as(gradient))
