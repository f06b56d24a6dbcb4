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
        config: schedule, start, final weight and length of the warm-up; nothing left out.
        step: optimizer steps taken so far.
        steps_per_epoch: optimizer steps in one pass over the data.
    """
    beta = config.beta
    assert beta is not None
    warmup = config.kl_warmup_epochs * steps_per_epoch
    if config.kl_schedule == "constant" or step >= warmup:
        return beta
    progress = step / warmup
    if config.kl_schedule == "cyclical":
        progress = min(1.0, 2.0 * math.modf(progress * config.kl_cycles)[0])
    return config.kl_start + (beta - config.kl_start) * progress


def capacity(config: ObjectiveConfig, step: int, steps_per_epoch: int) -> float:
    """Nats at which the KL term is held: a line from zero over ``capacity_epochs``, then level.

    Burgess et al. 2018 (arXiv:1804.03599), section 5. Zero where there is no capacity.
    """
    rise = config.capacity_epochs * steps_per_epoch
    return (config.capacity or 0.0) * (step / rise if step < rise else 1.0)


def learning_rate(config: OptimConfig, step: int, total_steps: int, steps_per_epoch: int) -> float:
    """Learning rate of a step: a linear rise, then constant, half a cosine or falling stages.

    The cosine is that of Loshchilov and Hutter 2017 (arXiv:1608.03983) without restarts. The stages
    are those of Burda et al. 2016 (arXiv:1509.00519, section 5): stage i of 0 to 7 lasts 3^i parts
    of the run at 10^(-i/7) of the rate, parts that are epochs in a run of theirs, 3280 epochs.
    """
    warmup = config.warmup_epochs * steps_per_epoch
    if step < warmup:
        return config.learning_rate * (step + 1) / (warmup + 1)
    if config.schedule == "constant":
        return config.learning_rate
    done, length = step - warmup, max(1.0, total_steps - warmup)
    if config.schedule == "burda":
        past = sum(2 * 3280 * done >= (3**stage - 1) * length for stage in range(1, 8))
        return config.learning_rate * math.pow(10.0, -past / 7)
    progress = min(1.0, done / length)
    return config.learning_rate * 0.5 * (1.0 + math.cos(math.pi * progress))
