"""The objective of a run, with its terms and the players that they train."""

import math

from accelerate import Accelerator

from distvae.config import TrainConfig
from distvae.data.image_data import ImageData
from distvae.errors import DistvaeError
from distvae.models import VAE
from distvae.objectives import MODEL, OBJECTIVES, Objective, Player, RunFacts, in_two_stages
from distvae.schedules import steps_of
from distvae.training.classifier import OwnClassifiers
from distvae.training.world import average_of, gather_rows


def build_objective(
    config: TrainConfig, data: ImageData, model: VAE, accelerator: Accelerator, steps: int
) -> Objective:
    """By which the model is trained, with the players of a run of so many steps an epoch."""
    own = OwnClassifiers(data, config.data, accelerator)
    objective = OBJECTIVES[config.objective.objective](
        RunFacts(
            config.objective,
            levels=model.latents.levels,
            infer_dim=model.latents.infer_dim,
            noise_dim=model.latents.noise_dim,
            dims=math.prod(data.shape),
            images=data.train_images,
            gather=gather_rows(accelerator),
            average=average_of(accelerator),
            shape=tuple(data.shape),
            given=model.conditioner.shape,
            classifier=own.maps,
            labeller=own.whole,
        )
    )
    second = model.latents.second_stage
    if second is not None:
        player, total = Player(learning_rate=second.learning_rate), steps_of(config.optim, steps)
        objective.players = in_two_stages(objective.players, player, total, second.share)
    _check_starts(objective, steps_of(config.optim, steps))
    return objective


def _check_starts(objective: Objective, steps: int) -> None:
    """Refuse a critic that the model would never hear, in a run of so many steps."""
    _, end = objective.players[MODEL].stage or (0, steps)
    start = objective.heard
    if start >= end:
        whose = "the run" if end == steps else "the stage in which the model is trained"
        raise DistvaeError(
            f"--critic-start {start:,} is not before the end of {whose}",
            f"that is at step {end:,}",
            f"Take {end - 1:,} or less, or train for longer.",
        )
