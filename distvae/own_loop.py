"""What a training loop of one's own needs beside the model: noise, a loss and an optimizer.

Legend: B batch, K draws for an image, Z length of the noise.
"""

import dataclasses
import math

import torch
from torch import Tensor, nn

from distvae.composition import Terms
from distvae.config import ObjectiveConfig
from distvae.draws.philox import Stream
from distvae.draws.steps import NoiseSource
from distvae.models import VAE
from distvae.objectives.base import Loss, negative_elbo
from distvae.ranges import check_seed, whole_number
from distvae.training.wrapping import by_factor

__all__ = ["Loss", "loss", "noise", "optimizer"]


def noise(model: VAE, count: int, seed: int, step: int, draws: int | None = None) -> Tensor:
    """The random numbers of a step, which ``model(images, labels, noise)`` takes.

    They are a function of what is given here alone, and those of ``distvae train`` with this seed.

    Args:
        model: which is to be trained.
        count: B.
        seed: of the loop.
        step: from 0 on, another for each step.
        draws: K, for several latents of each image; None for one.

    Returns:
        Standard normal numbers ``[B, Z]``, or ``[B, K, Z]``, float32, on the model's device.

    Raises:
        DistvaeError: a number is out of range.
    """
    check_seed(seed)
    count, step = whole_number(count, "count", 1), whole_number(step, "step", 0)
    if draws is not None:
        draws = whole_number(draws, "draws", 1)
    source = NoiseSource(seed, Stream.TRAINING, model.latents.infer_dim, None, model.device, draws)
    return source.draw(step, slice(0, count)).noise


def loss(
    terms: Terms, beta: float = 1.0, free_bits: float = 0.0, capacity: float | None = None
) -> Loss:
    """The negative evidence lower bound, its rate weighted.

    Args:
        terms: what ``model(images, labels, noise)`` gives.
        beta: weight of the rate; 1 is the bound itself.
        free_bits: nats that each latent may cost unweighted.
        capacity: nats to which the rate is pulled, with weight ``beta``; None for none.

    Returns:
        ``.loss`` to minimize, a scalar, the mean over the batch in nats per image; ``.distortion``
        and ``.rate`` of each image ``[B]``, nats.
    """
    config = dataclasses.replace(
        ObjectiveConfig(), beta=beta, free_bits=free_bits, capacity=capacity
    )
    dims = math.prod(terms.parameters.shape[1:])
    return negative_elbo(terms, beta, config, dims, capacity or 0.0)


def optimizer(
    model: nn.Module, learning_rate: float = 2e-3, weight_decay: float = 0.0
) -> torch.optim.Optimizer:
    """AdamW for a model, with the learning rate of each part that asks for another.

    Some priors are trained at a multiple of the rate, which their modules say.

    Args:
        model: to be trained.
        learning_rate: of most weights.
        weight_decay: decoupled.
    """
    return torch.optim.AdamW(
        {
            "params": parameters,
            "lr": factor * learning_rate,
            "weight_decay": weight_decay / factor,
        }
        for factor, parameters in by_factor(model).items()
    )
