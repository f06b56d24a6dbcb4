"""Which loss is optimized: one class an objective, each citing its paper and equation."""

from distvae.objectives.aggregate import BetaTC, DipI, DipII, Mmd
from distvae.objectives.base import (
    MODEL,
    Gather,
    Loss,
    Objective,
    Player,
    Pressure,
    RunFacts,
    Summary,
    elbo,
    frozen,
    loss_of_means,
    summary,
)
from distvae.objectives.bounds import Dreg, Elbo, Iwae
from distvae.objectives.factor import Factor

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
    "elbo",
    "frozen",
    "loss_of_means",
    "summary",
]

OBJECTIVES: dict[str, type[Objective]] = {
    "elbo": Elbo,
    "iwae": Iwae,
    "dreg": Dreg,
    "beta_tc": BetaTC,
    "factor": Factor,
    "dip_i": DipI,
    "dip_ii": DipII,
    "mmd": Mmd,
}
