"""Which bound is optimized: from the terms of a forward pass to a loss."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import Tensor

from distvae.config import ObjectiveConfig
from distvae.models import Terms


@dataclass(frozen=True)
class Loss:
    """What an objective gives the training loop."""

    loss: Tensor
    """What is minimized, a scalar: the mean over the batch of nats per image."""
    distortion: Tensor
    """-log p(x|z), nats per image ``[B]``."""
    rate: Tensor
    """KL of posterior to prior, nats per image ``[B]``."""
    extras: Mapping[str, Tensor] = field(default_factory=dict)
    """Further scalars worth logging, by name."""


Objective = Callable[[Terms, float | Tensor, ObjectiveConfig, int], Loss]
"""(terms, KL weight, settings, pixels and channels of an image) -> loss."""


def elbo(terms: Terms, kl_weight: float | Tensor, config: ObjectiveConfig, dims: int) -> Loss:
    """Negative evidence lower bound, its KL term weighted.

    distortion + kl_weight * rate: with weight 1 the bound of Kingma and Welling 2014 (eq. 10), with
    another the beta-VAE of Higgins et al. 2017. With free bits the KL of each latent dimension,
    averaged over the batch, counts at least ``free_bits`` nats (Kingma et al. 2016,
    arXiv:1606.04934, eq. 15). With ``reduction`` mean the distortion is divided by the number of
    pixels, so the KL weight is in effect ``dims`` times larger.
    """
    distortion = -terms.log_likelihood
    rate = terms.rate.sum(1)
    if config.free_bits:
        pressed = terms.rate.mean(0).clamp(min=config.free_bits).sum()
    else:
        pressed = rate.mean()
    reconstruction = distortion.mean()
    if config.reduction == "mean":
        reconstruction = reconstruction / dims
    return Loss(reconstruction + kl_weight * pressed, distortion, rate)


def loss_of_means(distortion: float, rate: float, config: ObjectiveConfig, dims: int) -> float:
    """The loss that mean distortion and rate come to at the final KL weight, without free bits."""
    if config.reduction == "mean":
        distortion = distortion / dims
    return distortion + config.beta * rate


OBJECTIVES: dict[str, Objective] = {"elbo": elbo}
