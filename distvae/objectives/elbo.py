"""The bound of single draws, or of the mean of several.

Legend: B batch, K draws for an image, C channels, H height, W width, Z latent dimensions.
"""

from typing import Any

from distvae.batch import Batch
from distvae.models import VAE
from distvae.objectives.base import Loss, Objective, negative_elbo
from distvae.parts import Part
from distvae.players import Pressure


class ElboPart(Part):
    """The evidence lower bound."""

    name = "elbo"
    builds = "Elbo"
    traits = ("held_rate", "takes_terms", "adds_distortion")
    usual = True

    def left_out(self) -> dict[str, Any]:
        """A weight with which samples obey their label better."""
        return {"beta": 1.5}


class Elbo(Objective):
    """The bound and its variants: see :func:`~distvae.objectives.base.negative_elbo`."""

    @property
    def draws(self) -> int | None:
        """One, or several to average over."""
        samples = self.facts.config.importance_samples
        return None if samples == 1 else samples

    def losses(self, model: VAE, batch: Batch, pressure: Pressure) -> Loss:
        """Distortion plus weighted rate."""
        terms = model.terms(batch, self.draws)
        config, dims, gather = self.facts.config, self.facts.dims, self.facts.gather
        return negative_elbo(terms, pressure.kl_weight, config, dims, pressure.capacity, gather)
