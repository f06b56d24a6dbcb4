"""What every metric does: a family of figures that `distvae evaluate` measures."""

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from distvae.config import DataConfig
from distvae.data.batches import ResidentImages
from distvae.data.cache import cache_folder
from distvae.data.store import ImageData
from distvae.evaluation.asked import of_attribute
from distvae.evaluation.ensemble import Ensemble, get_judges
from distvae.evaluation.features import (
    Extractor,
    JudgeFeatures,
    find_extractors,
    inception_weights,
)
from distvae.evaluation.metrics.needs import Requirement
from distvae.evaluation.passes import Share
from distvae.models import VAE
from distvae.terminal import progress_bar
from distvae.text import counted

Values = Iterator[tuple[str, float]]


@dataclass(frozen=True)
class Subject:
    """What is measured, and how."""

    model: VAE
    data: ImageData
    images: ResidentImages
    """The test split."""
    settings: DataConfig
    draws: int
    seed: int
    share: Share
    folder: Path | None
    """Where pictures go, if anywhere."""
    leave: Callable[[str, str], None]
    """Told the name of a figure that cannot be had, and why."""

    def labelled(self) -> "Subject":
        """The same on labelled images only, where some are."""
        data = self.data.labelled()
        if data is self.data:
            return self
        images = ResidentImages.from_split(data.test).to(self.images.device)
        return dataclasses.replace(self, data=data, images=images)

    def extractors(self) -> Sequence[Extractor]:
        """What features are taken of: Inception where it sees images, else judges; or nothing."""
        if self.data.has("pictures") and inception_weights():
            return find_extractors(None, self.images.device)
        judges = self.judges()
        return [] if judges is None else [JudgeFeatures(judge) for judge in judges.members]

    def judges(self, place: int | None = None) -> Ensemble | None:
        """Classifiers of the data, None where they have no labels to tell apart.

        Args:
            place: of several attributes, the one whose labels they tell apart; left out, the first.
        """
        data = of_attribute(self.data, place)
        if data.num_labels < 2:
            return None
        cache: Path = cache_folder(self.settings)
        return get_judges(data, cache, self.images.device, progress_bar)


class Metric(ABC):
    """The contract of this part: a family of figures."""

    needs: ClassVar[tuple[Requirement, ...]] = ()
    """Each refuses a model or data that lack what is needed, before anything is measured."""
    unlabelled: ClassVar[bool] = False
    """Whether images without a label are measured too, where others have one."""
    shared: ClassVar[bool] = False
    """Whether several processes measure it together; else one does."""
    imports: ClassVar[str] = ""
    """A package that is imported while it is measured; missing, it is told before."""

    @abstractmethod
    def measure(self, subject: Subject) -> Values:
        """Figures by name."""

    def images(self, subject: Subject) -> str:
        """What it is measured on."""
        return counted(len(subject.data.test), f"test {subject.data.examples}")
