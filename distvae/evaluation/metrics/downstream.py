"""What the latents tell of labels."""

from distvae.evaluation.downstream import downstream_metrics, passes
from distvae.evaluation.metrics.base import Metric, Subject, Values
from distvae.evaluation.metrics.needs import pictures, two_labels
from distvae.parts import MetricPart
from distvae.terminal import progress_bar


class DownstreamPart(MetricPart):
    """What the latents tell of labels, by linear probe, nearest neighbours and clusters.

    Of a conditional model its accuracy as a classifier, and how much of the label leaks into the
    latents.
    """

    name = "downstream"
    builds = "Downstream"


class Downstream(Metric):
    """See :mod:`distvae.evaluation.downstream`."""

    needs = (pictures, two_labels)
    imports = "sklearn"

    def measure(self, subject: Subject) -> Values:
        """Of training and test images."""
        model, data = subject.model, subject.data
        with progress_bar("telling labels", passes(model, data)) as advance:
            yield from downstream_metrics(model, data, subject.seed, advance)
