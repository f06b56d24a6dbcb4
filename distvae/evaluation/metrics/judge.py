"""Whether generated images obey their label."""

from torch import Tensor

from distvae.evaluation.confusion import write_confusion
from distvae.evaluation.generation import generation_metrics, images_per_label
from distvae.evaluation.metrics.base import Metric, Subject, Values
from distvae.evaluation.metrics.needs import conditional, pictures, two_labels
from distvae.parts import MetricPart
from distvae.terminal import progress_bar


class JudgePart(MetricPart):
    """How well generated images obey their label, by a small classifier of real ones.

    Also how diverse they are, and which labels are confused.
    """

    name = "judge"
    builds = "Judge"
    pictures = ("confusion",)
    usual = True


class Judge(Metric):
    """See :mod:`distvae.evaluation.generation`."""

    needs = (pictures, conditional, two_labels)

    def measure(self, subject: Subject) -> Values:
        """Of generated images of each label."""
        judges, data = subject.judges(), subject.data
        assert judges is not None

        def draw(counts: Tensor) -> None:
            if subject.folder:
                write_confusion(subject.folder / "confusion.png", counts, data.label_names)

        with progress_bar("judging generated images", data.num_labels) as advance:
            yield from generation_metrics(
                subject.model,
                data,
                judges,
                subject.seed,
                advance=advance,
                confusion=draw,
                leave=subject.leave,
            )

    def images(self, subject: Subject) -> str:
        """Generated ones and, for the diversity, test images."""
        each = images_per_label(subject.data.num_labels)
        what = subject.data.examples
        return f"{each:,} generated {what} of each label, {len(subject.data.test):,} test {what}"
