"""How unlike the training data examples are, from an exported file. Needs numpy and onnxruntime."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from distvae.errors import DistvaeError
from distvae.export.inputs import of_examples
from distvae.export.manifest import SCORER, ThresholdRecord
from distvae.export.session import Opened, read_manifest
from distvae.labels import Labels
from distvae.text import markdown


class Scores(NamedTuple):
    """Of each example ``[N]``, the higher the stranger; as ``distvae score`` tells them."""

    distortion: NDArray[np.float32]
    """-log p(x|z) of the posterior's mean z, nats."""
    rate: NDArray[np.float32]
    """Of the posterior to the prior, nats."""
    score: NDArray[np.float32]
    """Of pictures the share that is not explained, of others distortion and rate, nats."""


class Scorer(Opened):
    """Tells with ``score.onnx`` what is unlike the training data.

    A file is opened as :class:`distvae.export.session.Opened` says.
    """

    kind = SCORER

    @property
    def threshold(self) -> ThresholdRecord | None:
        """The score above which an example is an anomaly, with its share of false alarms."""
        return self.manifest.threshold

    def scores(self, images: NDArray[Any], labels: Labels | None = None) -> Scores:
        """Distortion, rate and score of images.

        Args:
            images: as the domain stores them ``[N, *S]``: uint8 ``[N, C, H, W]``, 0 to 255, or
                rows of a table ``[N, F]`` in the units of the data.
            labels: one label for all or one for each image, by name or number. Left out of a model
                that is given one label: that under which distortion and rate are least. Of several
                attributes a mapping from their names, in which None is not known.

        Raises:
            DistvaeError: the images are of another type or shape, or a label is unknown.
        """
        if labels is None and self.label_names:
            return self._under_any(images)
        inputs = of_examples(images, labels, self.manifest)
        return Scores(*self._graph.run(inputs, len(images)))

    def _under_any(self, images: NDArray[Any]) -> Scores:
        found = [self.scores(images, label) for label in self.label_names]
        all_of = [np.stack(values) for values in zip(*found, strict=True)]
        best, rows = (all_of[0] + all_of[1]).argmin(0), np.arange(len(images))
        return Scores(*(values[best, rows] for values in all_of))

    def score(self, images: NDArray[Any], labels: Labels | None = None) -> NDArray[np.float32]:
        """The score of each image ``[N]``; takes and raises what :meth:`scores` does."""
        return self.scores(images, labels).score

    def is_anomaly(self, images: NDArray[Any], labels: Labels | None = None) -> NDArray[np.bool_]:
        """Whether each image ``[N]`` lies above the file's threshold.

        Raises:
            DistvaeError: as :meth:`scores`, or the file has no threshold.
        """
        if self.threshold is None:
            raise DistvaeError(
                "this score.onnx has no threshold",
                "no held-out examples were at hand when it was written",
                "Export again with --data, or compare Scorer.score with a number of your own.",
            )
        above: NDArray[np.bool_] = self.score(images, labels) > self.threshold.score
        return above


def readme_lines(path: Path) -> str:
    """What a README says of a score.onnx: what it takes and gives, and its threshold."""
    manifest = read_manifest(path)
    name, shape, dtype = manifest.example
    sides = ", ".join(["batch", *map(str, shape)])
    given = ", ".join(f"`{markdown(each)}`" for each in manifest.given)
    threshold = manifest.threshold
    above = (
        "The file holds no threshold: held-out examples were not at hand.\n\n"
        if threshold is None
        else f"Above a score of {threshold.score:.4g} lie {threshold.false_alarms:.2%} of "
        f'{threshold.examples:,} held-out examples: `Scorer("{path.name}").is_anomaly(images)` of '
        "`distvae.export` calls those anomalies that do.\n\n"
    )
    return (
        f"| `{path.name}` | | |\n| --- | --- | --- |\n"
        f"| input `{name}` | {dtype} `[{sides}]` | as encoder.onnx takes it"
        f"{f', with {given}' if given else ''} |\n"
        "| output `distortion`, `rate` | float32 `[batch]` | nats, at the posterior's mean |\n"
        "| output `score` | float32 `[batch]` | how unlike the training data: the higher, the "
        f"stranger |\n\n{above}"
    )
