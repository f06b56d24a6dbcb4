"""Which loss is optimized: one class an objective, each citing its paper and equation."""

from distvae.declarations import registry
from distvae.objectives.base import (
    Loss,
    Objective,
    Summary,
    frozen,
    loss_of_means,
    negative_elbo,
    summary,
)
from distvae.players import MODEL, PRIOR, Gather, Player, Pressure, RunFacts, in_two_stages

__all__ = [
    "MODEL",
    "OBJECTIVES",
    "PRIOR",
    "Gather",
    "Loss",
    "Objective",
    "Player",
    "Pressure",
    "RunFacts",
    "Summary",
    "frozen",
    "in_two_stages",
    "loss_of_means",
    "negative_elbo",
    "summary",
]

OBJECTIVES: dict[str, type[Objective]] = registry("objective")
