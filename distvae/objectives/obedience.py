"""The bound, and whether a classifier takes what the prior draws for the label that was asked for.

Legend: B batch, L labels.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from distvae.attributes import main_label
from distvae.batch import Batch
from distvae.distributions import full_precision
from distvae.models import VAE
from distvae.objectives.base import DrawsOfBoth, Loss
from distvae.parts import PICTURES, WEIGHS, Need, Part
from distvae.players import PRIOR, Pressure, RunFacts
from distvae.values import NotNegative

MARGIN = 1.0
"""Log-odds, nats: of two labels the one that was asked for is 2.7 times as likely."""
NAME = "disobedience"
"""Of what samples lack, in the log."""


@dataclass(frozen=True)
class ObediencePart(Part):
    """The bound, and by how much a classifier takes samples of the prior for another label."""

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
    """Weight of the log-odds that samples lack for their label, as a classifier of the run's
    labelled images sees them; left out: 3."""

    def left_out(self) -> dict[str, Any]:
        """The weight."""
        return {"obedience_weight": 3.0}


class Obedience(DrawsOfBoth):
    """-elbo + weight E_{z ~ p(z|y)} max(0, margin + max_{k != y} l_k - l_y), y those of the batch.

    l are the logits of a classifier for the mean of p(x|z, y), so what counts are log-odds, nats. A
    sample that is told from all other labels by the margin counts for nothing, and stays as diverse
    as the bound would have it: the hinge of Crammer and Singer 2001 (JMLR 2, 265-292, eq. 1), where
    the auxiliary classifier of Odena et al. 2017 (arXiv:1610.09585, L_C) asks every sample to be
    typical of its label. The classifier is trained before the run and stands still. It is built and
    trained as the judges that evaluate a model are, from another seed; figures that rest on judges
    gain by it more than images may. Samples of no known label count for nothing; of several
    attributes the first with labels is asked for.

    Codes have no gradient. Where latents are codes, their prior alone learns from it, in the second
    stage, by the score of what it draws less the mean of the batch (Williams 1992, Machine Learning
    8, 229-256).
    """

    def __init__(self, facts: RunFacts) -> None:
        super().__init__(facts)
        weight = facts.config.of(ObediencePart).obedience_weight
        assert weight is not None
        assert facts.labeller is not None
        self.weight = weight
        self.labeller = facts.labeller()
        self.told = str(self.labeller.told)
        self.asks = True
        """Whether what the prior draws is of the model as it is trained."""

    def begin(self, players: Collection[str]) -> None:
        """Before a prior of a second stage is trained its draws say nothing: 0 is told of them."""
        super().begin(players)
        self.asks = PRIOR in players or PRIOR not in self.players

    def losses(self, model: VAE, batch: Batch, pressure: Pressure) -> Loss:
        """The bound plus what as many samples lack as the batch has examples."""
        of_posterior, of_prior = self.noises(batch)
        terms = model.terms(of_posterior)
        bound = self.bound(terms, pressure)
        if not self.asks:
            return replace(bound, extras={**bound.extras, NAME: bound.distortion.new_zeros(())})
        context = model.conditioner(batch.conditions)
        latents, log_p = model.latents.scored(of_prior, context)
        samples = model.render(latents, context)
        with full_precision(batch.stored.device.type):
            each = self._lacking(self.labeller(samples.float()), model, batch)
        extras = {**bound.extras, NAME: each.mean()}
        if log_p is None:
            return bound.plus(self.weight * each.mean(), extras)
        return replace(bound, extras=extras, others={PRIOR: self.weight * self._score(each, log_p)})

    def _score(self, each: Tensor, log_p: Tensor) -> Tensor:
        """What has the gradient of the expectation of what each sample lacks ``[B]``, a scalar."""
        lacking = each.detach()
        return ((lacking - self.facts.gather(lacking).mean()) * log_p).mean()

    def _lacking(self, logits: Tensor, model: VAE, batch: Batch) -> Tensor:
        """Log-odds that ``logits [B, L]`` lack for the labels that were asked for, nats ``[B]``."""
        place = main_label(model.attributes)
        assert batch.conditions is not None
        assert place is not None
        values, known = (each[:, place] for each in batch.conditions)
        asked = torch.where(known, values, 0).long()[:, None]
        rivals = logits.scatter(1, asked, -torch.inf).amax(1)
        lacking = F.relu(MARGIN + rivals - logits.gather(1, asked).squeeze(1))
        return torch.where(known, lacking, 0.0)
