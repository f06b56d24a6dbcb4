"""Log p(x) of a conditional model."""

from typing import ClassVar

import torch

from distvae.data.batches import ResidentImages
from distvae.evaluation.likelihood import likelihood_metrics, marginal
from distvae.evaluation.metrics.base import Metric, Subject, Values
from distvae.evaluation.metrics.likelihood import a_likelihood, estimated
from distvae.evaluation.metrics.needs import conditional, drawn_latents, one_label
from distvae.parts import MetricPart
from distvae.terminal import progress_bar


class MarginalPart(MetricPart):
    """Log p(x) of a conditional model, summed over its labels."""

    name = "marginal"
    builds = "Marginal"
    headlines = ("log_marginal",)
    meanings: ClassVar[dict[str, str]] = {
        "log_marginal": "log p(x), summed over labels, nats",
        "log_marginal_draws": "draws for an image and a label of log p(x)",
        "log_marginal_effective_draws": "draws of even weight that these are worth (median)",
    }


class Marginal(Metric):
    """See :func:`distvae.evaluation.likelihood.marginal`."""

    needs = (conditional, one_label, drawn_latents, a_likelihood)
    shared = True

    def measure(self, subject: Subject) -> Values:
        """Of every test image."""
        names = subject.data.label_names
        total = len(subject.data.test) * len(names)
        with progress_bar("log-likelihood under every label", total) as advance:
            by_label = [estimated(subject, label, advance) for label in range(len(names))]
        train = ResidentImages.from_split(subject.data.train).labels
        assert train is not None
        counts = torch.bincount(train, minlength=len(names))
        estimate = marginal(by_label, counts / counts.sum())
        yield "log_marginal_draws", float(subject.draws)
        yield from likelihood_metrics(estimate, subject.images.labels, names, "log_marginal")
