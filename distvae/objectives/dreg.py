"""The bound of several draws that are weighed, by a gradient with less noise.

Legend: B batch, K draws for an image, C channels, H height, W width, Z latent dimensions.
"""

from typing import Any

from distvae.batch import Batch
from distvae.distributions import full_precision
from distvae.models import VAE
from distvae.objectives.base import Loss, one_draw
from distvae.objectives.iwae import Iwae, log_weights, weighed
from distvae.parts import ONE_LEVEL, WEIGHS, Need, Part
from distvae.players import Pressure


class DregPart(Part):
    """The same bound by a gradient with less noise."""

    name = "dreg"
    builds = "Dreg"
    needs = (
        WEIGHS,
        ONE_LEVEL,
        Need("compile", ("off", "auto"), "its gradient is not that of its value"),
    )

    def left_out(self) -> dict[str, Any]:
        """Draws."""
        return {"importance_samples": 5}


class Dreg(Iwae):
    """The same bound, its gradient doubly reparameterized (Tucker et al. 2019, arXiv:1810.04152).

    The encoder learns through z alone, the posterior's parameters in log q(z|x) being held, and
    from each draw by the square of its normalized weight w (their IWAE-DReG estimator). That has
    the mean of the plain gradient and less noise, and does not fade as K grows. With a KL weight b
    the square is w (1 - b (1 - w)), by the same argument.

    Decoder and prior, also a learned one, have the plain gradient, weighted by w. What flows on
    into z comes with that w, and is given the other factor on its way to the encoder. Of several
    levels the z of one would pass through the posterior of the next, which asks for another
    estimator (Bauer and Mnih 2021, arXiv:2101.11046).
    """

    compiles = False

    def losses(self, model: VAE, batch: Batch, pressure: Pressure) -> Loss:
        """The value of ``iwae`` with another gradient."""
        terms = model.terms(batch, self.draws, densities=True)
        draw = one_draw(terms)
        assert draw.posterior is not None
        with full_precision(batch.stored.device.type):
            held = draw.posterior.detached().over_draws().log_prob(draw.z)
        log_weight = log_weights(terms, held, pressure.kl_weight)
        if draw.z.requires_grad:  # not where the loss is only looked at
            share = log_weight.detach().softmax(1).unsqueeze(2)
            factor = 1.0 - pressure.kl_weight * (1.0 - share)
            z: Any = draw.z  # whose hooks have no types
            z.register_hook(lambda gradient: gradient * factor)
        return weighed(terms, log_weight)
