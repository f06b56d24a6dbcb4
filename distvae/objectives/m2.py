"""The bound of examples of which some have no label, with a network that tells it.

Legend: B batch (the global one where rows are gathered), S the axes of an example, L labels, P
pairs of an example and a label, M examples without a label.
"""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from distvae.batch import Batch
from distvae.conditions import Conditions, Context
from distvae.distributions import full_precision
from distvae.models import VAE
from distvae.networks.classifier import Classifier
from distvae.objectives.base import Loss, Objective
from distvae.parts import WEIGHS, WHOLE_BATCH, Need, Part
from distvae.players import Pressure, RunFacts
from distvae.values import NotNegative

START = 0.1
"""Length of the step, over the radius, at which a direction is judged: much shorter ones change
q(y|x) by little more than rounding does, so that processes would not agree."""


@dataclass(frozen=True)
class M2Part(Part):
    """The bound with missing labels summed over, and a network q(y|x) that tells them (M2)."""

    name = "m2"
    builds = "M2"
    needs = (
        Need("model", ("cvae",), "it is about labels"),
        Need("infer_label", (None, True), "it trains q(y|x)"),
        Need("streaming", (False,), "examples without a label are left out there"),
        WEIGHS,
        *WHOLE_BATCH,
    )

    label_weight: NotNegative | None = None
    """Weight of the cross-entropy of q(y|x) where the label is known, nats; left out: 10."""
    smoothness: NotNegative | None = None
    """Weight of how far q(y|x) changes, in nats, by the smallest step that changes it most; left
    out: 10; 0 leaves q(y|x) as M2 has it."""
    radius: NotNegative | None = None
    """Length of that step, as a share of the root mean square norm of the inputs; left out: 0.2."""

    def left_out(self) -> dict[str, Any]:
        """All three, and a KL weight with which samples obey their label better."""
        return {"label_weight": 10.0, "smoothness": 10.0, "radius": 0.2, "beta": 1.5}


class Pairs(NamedTuple):
    """Examples with the labels under which each is seen: the known one, or all in turn."""

    rows: Tensor
    """Of the examples in the batch, int64 ``[P]``."""
    labels: Tensor
    """int64 ``[P]``."""
    weights: Tensor
    """1 where the label is known, else q(y|x) ``[P]``."""


class M2(Objective):
    """M2 of Kingma, Rezende, Mohamed and Welling 2014 (arXiv:1406.5298, eq. 6 to 9).

    An example with a label has the bound of p(x|y); one without the sum over all labels of q(y|x)
    times that bound, less KL(q(y|x) || p(y)), p(y) uniform. The cross-entropy of q(y|x), the mean
    over the labelled examples of the batch, is added with ``label_weight``.

    With ``smoothness`` the divergence KL(q(y|x) || q(y|x + r)) is added, the mean over the batch,
    in the direction r in which it grows fastest, found by one step of the power method (virtual
    adversarial training, Miyato et al. 2018, arXiv:1704.03976, algorithm 1). Its length is that of
    ``radius``, a share of the inputs' norm, so it means the same for other sizes and scales.
    """

    compiles = False  # the direction is the gradient of another pass
    captures = False  # how many labels are missing is looked at

    def __init__(self, facts: RunFacts) -> None:
        super().__init__(facts)
        self.own = facts.config.of(M2Part)

    @property
    def noise_dim(self) -> int:
        """For the latents, then for the direction."""
        return self.facts.infer_dim + (self.facts.dims if self.own.smoothness else 0)

    def losses(self, model: VAE, batch: Batch, pressure: Pressure) -> Loss:
        """The bound, the cross-entropy and the divergence."""
        classifier, conditions = model.classifier, batch.conditions
        assert classifier is not None
        assert conditions is not None
        latents = batch.noise[:, : self.facts.infer_dim]
        inputs = model.inputs_of(batch)
        log_q = classifier(inputs)
        labels, known = _labels(conditions)
        pairs = paired(labels, known, log_q.exp())
        terms = model.terms_of(
            inputs[pairs.rows], Context.of_label(pairs.labels), latents[pairs.rows]
        )
        with full_precision(inputs.device.type):
            distortion = _summed(-terms.log_likelihood, pairs, len(inputs))
            rate = _summed(terms.rate.sum(1), pairs, len(inputs))
            label_rate = torch.where(known, 0.0, label_divergence(log_q))
            loss = (distortion + pressure.kl_weight * rate + label_rate).mean()
            label_loss = self._cross_entropy(log_q, labels, known)
        extras = {"label_loss": label_loss, "label_rate": label_rate.mean()}
        loss = loss + (self.own.label_weight or 0.0) * label_loss
        if self.own.smoothness:
            extras["label_change"] = self._change(
                classifier, inputs, log_q.detach(), batch.noise[:, self.facts.infer_dim :]
            )
            loss = loss + self.own.smoothness * extras["label_change"]
        return Loss(loss, distortion, rate + label_rate, extras)

    def _cross_entropy(self, log_q: Tensor, labels: Tensor, known: Tensor) -> Tensor:
        """The mean over the labelled examples of the whole batch; 0 where there are none."""
        everywhere = self.facts.gather(known.float())
        found = -log_q.gather(1, labels.clamp(min=0)[:, None])[:, 0]
        share = everywhere.mean().clamp(min=1.0 / len(everywhere))
        return torch.where(known, found, 0.0).mean() / share

    def _change(
        self, classifier: Classifier, inputs: Tensor, log_q: Tensor, noise: Tensor
    ) -> Tensor:
        """KL(q(y|x) || q(y|x + r)), the mean over the batch; nothing goes through the direction."""
        norms = self.facts.gather(inputs.detach().flatten(1).square().sum(1))
        length = (self.own.radius or 0.0) * norms.mean().sqrt()
        start = unit(noise.reshape_as(inputs)) * (START * length)
        return divergence(
            log_q, classifier(inputs + length * steepest(classifier, inputs, log_q, start))
        ).mean()


def paired(labels: Tensor, known: Tensor, q: Tensor) -> Pairs:
    """Each example with its label, or with all of them, weighed by ``q [B, L]``.

    Args:
        labels: int64 ``[B]``.
        known: whether a label is, bool ``[B]``.
        q: of the labels ``[B, L]``.
    """
    count = q.shape[1]
    whole, lacking = known.nonzero()[:, 0], (~known).nonzero()[:, 0]
    return Pairs(
        torch.cat([whole, lacking.repeat_interleave(count)]),
        torch.cat([labels[whole], torch.arange(count, device=q.device).repeat(len(lacking))]),
        torch.cat([torch.ones_like(q[whole, 0]), q[lacking].flatten()]),
    )


def label_divergence(log_q: Tensor) -> Tensor:
    """KL of q(y|x) to the uniform p(y), nats ``[B]``, of ``log_q [B, L]``."""
    return (log_q.exp() * log_q).sum(1) + math.log(log_q.shape[1])


def divergence(log_p: Tensor, log_q: Tensor) -> Tensor:
    """KL(p || q) of rows of labels, nats ``[B]``."""
    return F.kl_div(log_q, log_p, reduction="none", log_target=True).sum(1)


def steepest(classifier: Classifier, inputs: Tensor, log_q: Tensor, start: Tensor) -> Tensor:
    """Unit directions ``[B, *S]`` in which q(y|x) changes most, by one step from ``start``."""
    with torch.enable_grad():
        start = start.detach().requires_grad_()
        change = divergence(log_q, classifier(inputs.detach() + start)).sum()
        (gradient,) = torch.autograd.grad(change, start)
    return unit(gradient)


def unit(rows: Tensor) -> Tensor:
    """``[B, *S]``, each of norm 1, also those whose squares would be too small; zeros stay."""
    flat = rows.flatten(1)
    largest = flat.abs().amax(1, keepdim=True).clamp(min=torch.finfo(rows.dtype).tiny)
    return F.normalize(flat / largest).view_as(rows)


def _labels(conditions: Conditions) -> tuple[Tensor, Tensor]:
    """Of the one attribute: labels int64 ``[B]`` and which are known."""
    return conditions.values[:, 0].long(), conditions.known[:, 0]


def _summed(values: Tensor, pairs: Pairs, size: int) -> Tensor:
    """Over the pairs of each example, by their weights ``[B]``."""
    zeros = torch.zeros(size, dtype=values.dtype, device=values.device)
    return zeros.index_add(0, pairs.rows, pairs.weights.to(values.dtype) * values)
