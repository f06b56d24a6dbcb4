"""KL weight and learning rate as pure functions of progress.

Progress is counted in steps from the start of the run, so a resumed run needs no scheduler state.
"""

import math

from distvae.config import ObjectiveConfig, OptimConfig


def kl_weight(config: ObjectiveConfig, step: int, steps_per_epoch: int) -> float:
    """Weight of the KL term at a step.

    Linear warm-up is that of Bowman et al. 2016 (arXiv:1511.06349); the cyclical one restarts it
    ``kl_cycles`` times inside the warm-up, each ramp using half of its cycle, as in Fu et al. 2019
    (arXiv:1903.10145).

    Args:
        config: schedule, start, final weight and length of the warm-up.
        step: optimizer steps taken so far.
        steps_per_epoch: optimizer steps in one pass over the data.
    """
    warmup = config.kl_warmup_epochs * steps_per_epoch
    if config.kl_schedule == "constant" or step >= warmup:
        return config.beta
    progress = step / warmup
    if config.kl_schedule == "cyclical":
        progress = min(1.0, 2.0 * math.modf(progress * config.kl_cycles)[0])
    return config.kl_start + (config.beta - config.kl_start) * progress


def learning_rate(config: OptimConfig, step: int, total_steps: int, steps_per_epoch: int) -> float:
    """Learning rate of a step: a linear rise, then constant or half a cosine down to zero.

    The cosine is that of Loshchilov and Hutter 2017 (arXiv:1608.03983) without restarts.
    """
    warmup = config.warmup_epochs * steps_per_epoch
    if step < warmup:
        return config.learning_rate * (step + 1) / (warmup + 1)
    if config.schedule == "constant":
        return config.learning_rate
    progress = min(1.0, (step - warmup) / max(1.0, total_steps - warmup))
    return config.learning_rate * 0.5 * (1.0 + math.cos(math.pi * progress))
