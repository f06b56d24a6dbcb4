"""What generated images are worth in training a classifier."""

from typing import ClassVar

from distvae.evaluation.augmentation import augmentation_metrics
from distvae.evaluation.metrics.base import Metric, Subject, Values
from distvae.evaluation.metrics.needs import conditional, pictures, two_labels
from distvae.parts import MetricPart
from distvae.terminal import progress_bar

REPEATS = 3


class AugmentationPart(MetricPart):
    """What generated images add to few real ones in training a classifier."""

    name = "augmentation"
    builds = "Augmentation"
    headlines = ("augmentation_gain",)
    shares = (
        "augmentation_real_accuracy",
        "augmentation_both",
        "augmentation_generated_accuracy",
        "augmentation_gain",
    )
    meanings: ClassVar[dict[str, str]] = {
        "augmentation_real_images": "real images, a few",
        "augmentation_generated_images": "generated images",
        "augmentation_real_accuracy": "a classifier trained on these few real images",
        "augmentation_both_accuracy": "the classifier trained on these and the generated ones",
        "augmentation_generated_accuracy": "the classifier trained on the generated ones alone",
        "augmentation_gain": "gained by the generated images",
    }


class Augmentation(Metric):
    """See :mod:`distvae.evaluation.augmentation`."""

    needs = (pictures, conditional, two_labels)

    def measure(self, subject: Subject) -> Values:
        """Accuracy on real test images."""
        model, data, seed = subject.model, subject.data, subject.seed
        with progress_bar("classifiers", 3 * REPEATS) as advance:
            yield from augmentation_metrics(model, data, seed, seeds=REPEATS, advance=advance)
