"""FactorVAE: the total correlation, told by a network that is trained in the same step.

Legend: B batch (the global one where latents are gathered), C channels, H height, W width, Z
latent dimensions.
"""

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from distvae.batch import Batch
from distvae.distributions import full_precision
from distvae.models import VAE
from distvae.objectives.base import Context, Loss, Objective, Pressure


class Factor(Objective):
    """FactorVAE of Kim and Mnih 2018 (arXiv:1802.05983, eq. 2 and 3).

    The bound plus ``penalty`` times the total correlation of q(z), which is the mean over the batch
    of the discriminator's logit: it tells z of q(z) from z whose dimensions come from different
    images, and at its best its logit is the log-ratio of the two densities. Model and discriminator
    learn in one backward pass and one optimizer step: the first meets held weights, the second held
    latents (their algorithm 2 takes a second batch for it, and an optimizer of its own).
    """

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        widths = (context.latent_dim, *context.config.discriminator)
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise(widths):
            layers += [nn.Linear(before, after), nn.LeakyReLU(0.2)]
        self.discriminator = nn.Sequential(*layers, nn.Linear(widths[-1], 1))

    def forward(self, model: VAE, batch: Batch, pressure: Pressure) -> Loss:
        """The model's loss; the discriminator's adds its gradient and nothing to the value."""
        terms = model.terms(batch)
        bound = self.bound(terms, pressure)
        penalty = self.context.config.penalty
        assert penalty is not None
        with full_precision(batch.stored.device.type):
            z = self.context.gather(terms.z)
            held = {name: value.detach() for name, value in self.discriminator.named_parameters()}
            total_correlation = functional_call(self.discriminator, held, (z,)).mean()
            own = discriminator_loss(self.discriminator, z.detach())
        loss = bound.loss + penalty * total_correlation + (own - own.detach())
        extras = {"total_correlation": total_correlation, "discriminator_loss": own}
        return Loss(loss, bound.distortion, bound.rate, extras)


def discriminator_loss(discriminator: nn.Module, z: Tensor) -> Tensor:
    """Cross-entropy of telling rows of ``z [B, Z]`` from rows with shuffled dimensions, nats."""
    real, shuffled = discriminator(z), discriminator(shuffle_dimensions(z))
    return 0.5 * (F.softplus(-real).mean() + F.softplus(shuffled).mean())


def shuffle_dimensions(z: Tensor) -> Tensor:
    """``[B, Z]`` with the dimensions of a row from different rows, as far as there are enough.

    Dimension j comes from j + 1 rows further on. The rows of a batch are in random order, so this
    is as good as a permutation for each dimension (their algorithm 1), and needs no random numbers.
    """
    size, dim = z.shape
    rows = torch.arange(size, device=z.device)[:, None] + torch.arange(1, dim + 1, device=z.device)
    return z.gather(0, rows % size)
