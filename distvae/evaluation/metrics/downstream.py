"""What the latents tell of labels."""

from typing import ClassVar

from distvae.evaluation.downstream import downstream_metrics, passes
from distvae.evaluation.metrics.base import Metric, Subject, Values
from distvae.evaluation.metrics.needs import two_labels
from distvae.parts import MetricPart
from distvae.terminal import progress_bar


class DownstreamPart(MetricPart):
    """What the latents tell of labels, by linear probe, nearest neighbours and clusters.

    Of a conditional model its accuracy as a classifier, and how much of the label leaks into the
    latents.
    """

    name = "downstream"
    builds = "Downstream"
    headlines = ("linear_probe_accuracy",)
    shares = (
        "linear_probe",
        "knn",
        "bayes_accuracy",
        "label_leakage",
    )
    lower_is_better = ("label_leakage",)
    meanings: ClassVar[dict[str, str]] = {
        "ari": "adjusted Rand index of clusters of latents and labels",
        "nmi": "normalized mutual information of clusters of latents and labels",
        "linear_probe_accuracy": "labels told by a linear probe of the latents",
        "knn_accuracy": "labels told by the nearest latents",
        "bayes_accuracy": "labels told by Bayes' rule, from the elbo under each",
        "label_leakage": "labels told by a linear probe of latents given the label",
        "label_leakage_chance": "share told at which nothing leaks into the latents",
        "linear_probe_pixels_accuracy": "labels told by a linear probe of pixels",
        "knn_pixels_accuracy": "labels told by the nearest pixels",
        "linear_probe_pca_accuracy": "labels told by a linear probe of principal components",
        "knn_pca_accuracy": "labels told by the nearest principal components",
        "pixels_ari": "adjusted Rand index of clusters of pixels and labels",
        "pixels_nmi": "normalized mutual information of clusters of pixels and labels",
    }


class Downstream(Metric):
    """See :mod:`distvae.evaluation.downstream`."""

    needs = (two_labels,)
    imports = "sklearn"

    def measure(self, subject: Subject) -> Values:
        """Of training and test images."""
        model, data = subject.model, subject.data
        with progress_bar("telling labels", passes(model, data)) as advance:
            yield from downstream_metrics(model, data, subject.seed, advance)
