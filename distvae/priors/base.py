"""What every prior does.

Legend: B batch, Z latent dimensions, L labels.
"""

from abc import ABC, abstractmethod

import torch.nn.functional as F
from torch import Tensor

from distvae.data.batches import ResidentImages
from distvae.distributions import Wide
from distvae.posteriors import Posterior


class Prior(Wide, ABC):
    """The contract of this part: a density of latents, and how noise is turned into them."""

    noise_dim: int
    """Length of the noise vector that ``transform`` takes."""
    invertible: bool
    """Whether ``transform`` is one to one, so that ``whiten`` undoes it."""

    @abstractmethod
    def log_prob(self, z: Tensor, labels: Tensor | None) -> Tensor:
        """Log-density of ``z [B, Z]``, nats ``[B]``."""

    @abstractmethod
    def transform(self, noise: Tensor, labels: Tensor | None) -> Tensor:
        """Noise ``[B, noise_dim]`` to latents ``[B, Z]``."""

    def whiten(self, z: Tensor, labels: Tensor | None) -> Tensor:
        """The noise that ``transform`` would turn into ``z``: ``[B, Z]`` to ``[B, noise_dim]``."""
        raise NotImplementedError(f"{type(self).__name__} is not invertible")

    def prepare(self, images: ResidentImages) -> None:
        """Begin with what the training images are like; most priors do not need to."""

    def kl(self, posterior: Posterior, labels: Tensor | None) -> Tensor | None:
        """KL of the posterior to the prior, nats ``[B, Z]``; None where it has no closed form."""
        return None

    def rate(self, posterior: Posterior, z: Tensor, labels: Tensor | None) -> Tensor:
        """KL of the posterior to the prior, nats; its sum over the last axis is the rate.

        By latent dimension ``[B, Z]`` where it has a closed form; else estimated ``[B, 1]`` with
        one ``z [B, Z]`` of the posterior.
        """
        divergence = self.kl(posterior, labels)
        if divergence is not None:
            return divergence
        return (posterior.log_prob(z) - self.log_prob(z, labels)).unsqueeze(1)


def of_label(table: Tensor, labels: Tensor | None) -> Tensor:
    """Rows of ``table [L, ...]`` by label ``[B, ...]``; its gradient is a fast, exact sum."""
    assert labels is not None
    return F.embedding(labels, table.flatten(1)).view(labels.shape[0], *table.shape[1:])
