"""How far generated images are from real ones."""

from typing import ClassVar

from distvae.data.store import ImageData
from distvae.errors import DistvaeError
from distvae.evaluation.distances import LEAST, distance_metrics
from distvae.evaluation.features import inception_weights
from distvae.evaluation.metrics.base import Metric, Subject, Values
from distvae.evaluation.metrics.needs import judged
from distvae.models import VAE
from distvae.parts import MetricPart
from distvae.terminal import progress_bar

IMAGES = 10_000


class DistancesPart(MetricPart):
    """FID, KID, inception score, precision and recall, in the features of the judge.

    They are then named fid_judge, never to be compared with a FID, unless Inception-v3 is on this
    machine.
    """

    name = "distances"
    builds = "Distances"
    headlines = ("fid", "fid_judge", "kid", "kid_judge")
    shares = (
        "precision",
        "recall",
    )
    lower_is_better = (
        "fid",
        "kid",
    )
    meanings: ClassVar[dict[str, str]] = {
        "fid": "FID",
        "kid": "KID",
        "inception_score": "inception score",
        "precision": "precision, generated images near real ones",
        "recall": "recall, real images near generated ones",
        "fid_judge": "FID in the judge's features",
        "kid_judge": "KID in the judge's features",
        "inception_score_judge": "inception score by the judge",
        "precision_judge": "precision by the judge, generated images near real ones",
        "recall_judge": "recall by the judge, real images near generated ones",
    }


def features(name: str, model: VAE, data: ImageData) -> None:
    """A classifier whose features are taken."""
    if data.num_labels < 2 and not (data.has("pictures") and inception_weights()):
        raise DistvaeError(
            f"--metrics {name} needs features of {data.examples}, and {data.source} has "
            f"{'no labels' if not data.num_labels else 'a single label'}",
            "features are those of classifiers trained on labelled data, or of Inception-v3 where "
            "its weights and the package torch_fidelity are on this machine",
            f"Leave {name} out, or name the labels by --label-column when you train.",
        )


def enough_images(name: str, model: VAE, data: ImageData) -> None:
    """Test images to take distances between."""
    if len(data.test) < LEAST:
        raise DistvaeError(
            f"{len(data.test)} test {data.examples} are too few to take distances between",
            f"expected at least {LEAST}",
            "Choose a larger --split-test.",
        )


class Distances(Metric):
    """See :mod:`distvae.evaluation.distances`."""

    needs = (judged, features, enough_images)

    def measure(self, subject: Subject) -> Values:
        """Of generated images and test images."""
        extractors, model, data = subject.extractors(), subject.model, subject.data
        with progress_bar("features of images", 3 * min(IMAGES, len(data.test))) as advance:
            yield from distance_metrics(model, data, extractors, subject.seed, IMAGES, advance)
