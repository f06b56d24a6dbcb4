"""The bound, and whether a classifier takes what the prior draws for the label that was asked for.

Legend: B batch, L labels.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from distvae.attributes import main_label
from distvae.batch import Batch
from distvae.distributions import full_precision
from distvae.models import VAE
from distvae.objectives.base import Loss, Objective
from distvae.parts import PICTURES, WEIGHS, Need, Part
from distvae.players import Pressure, RunFacts
from distvae.values import NotNegative


@dataclass(frozen=True)
class ObediencePart(Part):
    """The bound and, of samples of the prior, how well a classifier tells their label."""

    name = "obedience"
    builds = "Obedience"
    traits = ("takes_terms", "adds_distortion")
    needs = (
        PICTURES,
        Need("model", ("cvae",), "it is about labels"),
        Need("importance_samples", (1, None), "it takes one draw of z"),
        WEIGHS,
    )

    obedience_weight: NotNegative | None = None
    """Weight of the cross-entropy of what a classifier of the run's labelled images tells of
    samples, nats; left out: 1."""

    def left_out(self) -> dict[str, Any]:
        """The weight."""
        return {"obedience_weight": 1.0}


class Obedience(Objective):
    """-elbo - weight E_{z ~ p(z|y)} log c(y | mean of p(x|z, y)), the labels y those of the batch.

    c is a classifier of the training images, which is trained before the run and stands still: the
    auxiliary classifier of Odena et al. 2017 (arXiv:1610.09585, section 3, L_C), for the samples
    alone. It is built and trained as the judges that evaluate a model are, from another seed;
    figures that rest on judges gain by it more than images may. Examples without a label, and the
    further attributes of those with several, count for nothing in it.
    """

    def __init__(self, facts: RunFacts) -> None:
        super().__init__(facts)
        weight = facts.config.of(ObediencePart).obedience_weight
        assert weight is not None
        assert facts.labeller is not None
        self.weight = weight
        self.labeller = facts.labeller()
        self.told = str(self.labeller.told)

    @property
    def draws(self) -> int | None:
        """One for the posterior and one for the prior."""
        return 2

    @property
    def noise_dim(self) -> int:
        """Enough for either."""
        return max(self.facts.infer_dim, self.facts.noise_dim)

    def losses(self, model: VAE, batch: Batch, pressure: Pressure) -> Loss:
        """The bound plus the cross-entropy of as many samples as the batch has examples."""
        of_posterior, of_prior = batch.noise.unbind(1)
        terms = model.terms(batch._replace(noise=of_posterior[:, : self.facts.infer_dim]))
        bound = self.bound(terms, pressure)
        context = model.conditioner(batch.conditions)
        latents = model.latents.draw(of_prior[:, : self.facts.noise_dim], context)
        samples = model.render(latents, context)
        with full_precision(batch.stored.device.type):
            nats = self._untold(self.labeller(samples.float()), model, batch).mean()
        return bound.plus(self.weight * nats, {"label_nats": nats})

    def _untold(self, logits: Tensor, model: VAE, batch: Batch) -> Tensor:
        """Nats by which ``logits [B, L]`` miss the labels that were asked for ``[B]``."""
        place = main_label(model.attributes)
        assert batch.conditions is not None
        assert place is not None
        values, known = (each[:, place] for each in batch.conditions)
        labels = torch.where(known, values, 0).long()
        return torch.where(known, F.cross_entropy(logits, labels, reduction="none"), 0.0)
