"""Whether generated images are copies of training images."""

from collections.abc import Sequence
from typing import ClassVar

from distvae.evaluation.features import Pixels, Space
from distvae.evaluation.metrics.base import Metric, Subject, Values
from distvae.evaluation.neighbours import find_neighbours, neighbour_metrics, write_neighbours
from distvae.parts import MetricPart
from distvae.terminal import progress_bar

RATIO = "neighbour_distance_ratio"


class NeighboursPart(MetricPart):
    """The training image nearest to a generated one, and whether there are copies."""

    name = "neighbours"
    builds = "Neighbours"
    headlines = ("copies",)
    pictures = ("neighbours",)
    shares = ("copies",)
    meanings: ClassVar[dict[str, str]] = {
        "neighbour_distance_ratio": "distance to the nearest training image (unseen images: 1)",
        "copies": "copies, as near to a training image as 1 % of unseen images are",
    }


class Neighbours(Metric):
    """See :mod:`distvae.evaluation.neighbours`."""

    def measure(self, subject: Subject) -> Values:
        """Of generated images."""
        model, data = subject.model, subject.data
        spaces: Sequence[Space] = subject.extractors() or [Pixels(subject.images.device)]
        with progress_bar("nearest training images", len(data.train)) as advance:
            found = find_neighbours(model, data, spaces, subject.seed, advance=advance)
        if subject.folder and data.has("pictures"):
            write_neighbours(subject.folder / "neighbours.png", data, found)
        figures = dict(neighbour_metrics(found))
        if RATIO not in figures:
            subject.leave(RATIO, "every test image is among the training images, too")
        yield from figures.items()
