"""Whether generated images obey their label."""

from collections.abc import Callable
from typing import ClassVar

from torch import Tensor

from distvae.data.store import ImageData
from distvae.evaluation.confusion import write_confusion
from distvae.evaluation.generation import generation_metrics, images_per_label
from distvae.evaluation.metrics.base import Metric, Subject, Values
from distvae.evaluation.metrics.needs import conditional, judged, two_labels
from distvae.evaluation.numbers import (
    EXAMPLES,
    number_metrics,
    readings,
    trained_readers,
    varies,
)
from distvae.models import VAE
from distvae.parts import MetricPart
from distvae.terminal import progress_bar
from distvae.text import counted, file_name


class JudgePart(MetricPart):
    """How well generated images obey their label, by a small classifier of real ones.

    Also how diverse they are, and which labels are confused.
    """

    name = "judge"
    builds = "Judge"
    headlines = ("judge_accuracy", "judge_accuracy_worst_label", "judge_test_accuracy", "diversity")
    pictures = ("confusion",)
    usual = True
    shares = (
        "judge_accuracy",
        "judge_test_accuracy",
        "diversity",
        "label_adherence",
    )
    meanings: ClassVar[dict[str, str]] = {
        "judge_accuracy": "judge accuracy on generated images",
        "judge_accuracy_worst_label": "judge accuracy on the label served worst (bias taken off)",
        "judge_accuracy_worst_label_certainty": "how sure it is which label is served worst",
        "judge_test_accuracy": "judge accuracy on real test images",
        "diversity": "diversity of generated images (real ones: 100 %)",
        "diversity_pixels": "diversity of generated images between pixels",
        "label_adherence_swapped_z": "label obeyed under swapped z",
        "label_adherence_swapped_noise": "label obeyed under swapped noise",
        "number_correlation": "correlation of the number asked for and what is read from an image",
        "number_error": "mean absolute difference to the number asked for",
        "number_test_correlation": "correlation on real test images",
        "number_test_error": "mean absolute difference on real test images",
    }
    lower_is_better = ("number_error", "number_test_error")


def labels_to_tell_apart(name: str, model: VAE, data: ImageData) -> None:
    """An attribute of two labels at least, or a number that varies."""
    if not _numbers(data) and (not _told_apart(data) or not data.attributes):
        two_labels(name, model, data)


class Judge(Metric):
    """See :mod:`distvae.evaluation.generation`.

    Of several attributes each is looked at. Images that lack it are left out, so ``unlabelled``.
    """

    needs = (judged, conditional, labels_to_tell_apart)
    unlabelled = True

    def measure(self, subject: Subject) -> Values:
        """Of generated images of each label."""
        subject = _judged(subject)
        for place in _told_apart(subject.data):
            if not subject.data.attributes:
                yield from _figures(subject, place, "confusion.png", subject.leave)
                continue
            name = subject.data.attributes[place].name.replace("/", "_")

            def leave(figure: str, why: str, name: str = name) -> None:
                subject.leave(_of_attribute(name, figure), why)

            picture = f"confusion-{file_name(name)}.png"
            for figure, value in _figures(subject, place, picture, leave):
                yield _of_attribute(name, figure), value
        for place in _numbers(subject.data):
            yield from _figures_of_number(subject, place)
        judged = {*_told_apart(subject.data), *_numbers(subject.data)}
        for place, each in enumerate(subject.data.attributes):
            if place not in judged:
                what = "label" if each.labels else "number"
                subject.leave(f"{each.name}: judge", f"its training images have a single {what}")

    def images(self, subject: Subject) -> str:
        """Generated ones and, for the diversity, test images."""
        data = _judged(subject).data
        sizes = [images_per_label(len(data.given[place].labels)) for place in _told_apart(data)]
        each = " or ".join(f"{size:,}" for size in dict.fromkeys(sizes))
        what = data.examples
        parts = [f"{each} generated {what} of each label"] if sizes else []
        if _numbers(data):
            parts.append(f"up to {EXAMPLES:,} generated {what} of numbers asked for")
        return ", ".join([*parts, counted(len(data.test), f"test {what}")])


def _judged(subject: Subject) -> Subject:
    """What is judged: of one label, images that have it."""
    return subject if subject.data.attributes else subject.labelled()


def _told_apart(data: ImageData) -> list[int]:
    """The attributes with labels to tell apart."""
    return [place for place, each in enumerate(data.given) if len(each.labels) > 1]


def _numbers(data: ImageData) -> list[int]:
    """The attributes that are numbers, and not the same of all."""
    numbers = [place for place, each in enumerate(data.attributes) if not each.labels]
    return [place for place in numbers if varies(data, place)]


def _of_attribute(name: str, figure: str) -> str:
    """What a figure of one attribute is called: it comes first, or before the label."""
    kind, slash, label = figure.partition("/")
    return f"{kind}/{name}: {label}" if slash else f"{name}: {kind}"


def _figures_of_number(subject: Subject, place: int) -> Values:
    """How well a number is carried."""
    data, device = subject.data, subject.images.device
    name = data.attributes[place].name.replace("/", "_")
    with progress_bar(f"training readers of {name}", readings(data)) as advance:
        readers = trained_readers(data, place, device, advance)
    for figure, value in number_metrics(subject.model, data, readers, place, subject.seed):
        yield _of_attribute(name, figure), value


def _figures(
    subject: Subject, place: int, picture: str, leave: Callable[[str, str], None]
) -> Values:
    """How well the labels of one attribute are obeyed."""
    judges, names = subject.judges(place), subject.data.given[place].labels
    assert judges is not None

    def draw(counts: Tensor) -> None:
        if subject.folder:
            write_confusion(subject.folder / picture, counts, names)

    with progress_bar("judging generated images", len(names)) as advance:
        yield from generation_metrics(
            subject.model,
            subject.data,
            judges,
            subject.seed,
            advance=advance,
            confusion=draw,
            leave=leave,
            place=place,
        )
