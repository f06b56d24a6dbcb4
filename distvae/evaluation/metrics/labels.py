"""How well a model tells labels."""

from typing import ClassVar

from distvae.data.store import ImageData
from distvae.errors import DistvaeError
from distvae.evaluation.label_error import label_metrics
from distvae.evaluation.metrics.base import Metric, Subject, Values
from distvae.evaluation.metrics.needs import two_labels
from distvae.models import VAE
from distvae.parts import MetricPart
from distvae.terminal import progress_bar


class LabelsPart(MetricPart):
    """How often q(y|x) of --objective m2 tells another label than an example has."""

    name = "labels"
    builds = "Labels"
    usual = True
    shares = ("label_error",)
    lower_is_better = ("label_error", "label_loss")
    meanings: ClassVar[dict[str, str]] = {
        "label_error": "labels that q(y|x) tells wrongly",
        "label_loss": "-log q(y|x) of the label, nats",
    }


def tells_labels(name: str, model: VAE, data: ImageData) -> None:
    """A model with q(y|x)."""
    if model.classifier is None:
        raise DistvaeError(
            f"--metrics {name} needs a model that tells labels",
            "this one was trained without q(y|x)",
            f"Leave {name} out, or train one by --objective m2.",
        )


class Labels(Metric):
    """See :mod:`distvae.evaluation.label_error`."""

    needs = (tells_labels, two_labels)
    shared = True

    def measure(self, subject: Subject) -> Values:
        """Of every test image."""
        with progress_bar("telling labels", len(subject.data.test)) as advance:
            yield from label_metrics(subject.model, subject.images, subject.share, advance)
