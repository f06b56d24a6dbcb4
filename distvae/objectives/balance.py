"""How hard each level of the latents is pressed while the KL weight rises.

Legend: D dimensions or groups of a level of which a rate is kept.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from distvae.config import ObjectiveConfig


def balanced_rate(
    means: Sequence[Tensor], kl_weight: float | Tensor, config: ObjectiveConfig
) -> Tensor:
    """The rate of a batch, of each level times its share of it, and times their number; nats.

    So while the KL weight is below beta, then every level counts once. The shares are constants of
    the step. It is the balancing of Vahdat and Kautz 2020 (arXiv:2007.03898, appendix A) without
    their division by the size of a level: their code (NVlabs/NVAE, ``kl_balancer``) has this form
    with equal coefficients, but for 0.01 nats added to each rate. A ladder begins with a vector,
    which has one place where the next level has 49, so that division would press it almost alone.
    Free bits are held before.

    Args:
        means: rates of each level ``[D]``, means over the batch.
        kl_weight: of the step.
        config: nothing left out.
    """
    levels = torch.stack([mean.clamp(min=config.free_bits).sum() for mean in means])
    shares = levels.detach() / levels.detach().mean().clamp(min=1e-6)
    assert config.beta is not None
    rises = torch.as_tensor(kl_weight, device=levels.device) < config.beta * (1.0 - 1e-6)
    return (levels * torch.where(rises, shares, 1.0)).sum()
