"""Which loss is optimized: one class an objective, each citing its paper and equation."""

from distvae.declarations import registry
from distvae.objectives.base import (
    MODEL,
    Gather,
    Loss,
    Objective,
    Player,
    Pressure,
    RunFacts,
    Summary,
    frozen,
    loss_of_means,
    negative_elbo,
    summary,
)

__all__ = [
    "MODEL",
    "OBJECTIVES",
    "Gather",
    "Loss",
    "Objective",
    "Player",
    "Pressure",
    "RunFacts",
    "Summary",
    "frozen",
    "loss_of_means",
    "negative_elbo",
    "summary",
]

OBJECTIVES: dict[str, type[Objective]] = registry("objective")
