"""Stored examples by split, and where they come from."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distvae.attributes import Attribute, label_attribute
from distvae.data.factors import Factor
from distvae.data.pictures import Pictures
from distvae.data.seen import NOTHING, Seen
from distvae.data.sources.raw import UNLABELLED
from distvae.data.streaming import Stream
from distvae.domains import DOMAINS, Domain
from distvae.domains.images import IMAGES
from distvae.errors import DistvaeError
from distvae.fields import Field


@dataclass(frozen=True, eq=False)
class Split:
    """Examples by field, read-only memory maps ``[N, *S]``, and labels int64 [N] or None.

    Labels are -1 where one is missing; these examples come last, unless labels were hidden.

    ``rows`` int64 [N] are the examples' places in the grid of their factors, where these are known.
    """

    fields: Mapping[str, NDArray[Any]]
    labels: NDArray[np.int64] | None
    rows: NDArray[np.int64] | None = None
    attributes: NDArray[np.float32] | None = None
    """Where examples are given something else than one label: indices of labels and numbers
    ``[N, A]``, NaN where one is not known; ``labels`` are those of the first that has some."""

    @classmethod
    def of_images(cls, images: NDArray[np.uint8], labels: NDArray[np.int64] | None) -> "Split":
        """Images uint8 [N, C, H, W] and their labels."""
        return cls({IMAGES: images}, labels)

    def __len__(self) -> int:
        """The number of examples."""
        return len(next(iter(self.fields.values())))

    @property
    def stored(self) -> NDArray[Any]:
        """The examples ``[N, *S]``, where one field is all there is of them."""
        (only,) = self.fields.values()
        return only

    @property
    def images(self) -> NDArray[Any]:
        """The examples, where they are images, [N, C, H, W]."""
        return self.fields[IMAGES]

    @property
    def labelled(self) -> int:
        """How many examples have a label."""
        return 0 if self.labels is None else int((self.labels != UNLABELLED).sum())

    def first(self, count: int) -> "Split":
        """The split without the examples from ``count`` on; nothing is copied."""
        return Split(
            {name: array[:count] for name, array in self.fields.items()},
            *(None if each is None else each[:count] for each in self._known),
        )

    def with_labels(self, labels: NDArray[np.int64]) -> "Split":
        """The split with other labels ``[N]``, :data:`UNLABELLED` where there is none."""
        return dataclasses.replace(self, labels=labels)

    def only_labelled(self) -> "Split":
        """The split without examples that have no label; copied where they are not the last."""
        count = self.labelled
        if self.labels is None or UNLABELLED not in self.labels[:count]:
            return self.first(count)
        return self.at(np.flatnonzero(self.labels != UNLABELLED))

    def at(self, rows: NDArray[np.int64]) -> "Split":
        """The split with these rows only, which are copied."""
        return Split(
            {name: array[rows] for name, array in self.fields.items()},
            *(None if each is None else each[rows] for each in self._known),
        )

    @property
    def _known(self) -> tuple[Any, Any, Any]:
        return self.labels, self.rows, self.attributes


@dataclass(frozen=True, eq=False)
class ImageData:
    """Both splits of a data set and where they come from; three, where weights are judged apart.

    ``name`` is fit for a folder name; ``label_names`` is empty where the images have no labels,
    ``factors`` where it is not known how they came about. Where there is a ``stream`` it has the
    training images, and ``train`` no more than a sample.

    ``digests`` tell by name each part of what the data holds: images and labels of the splits, and
    the names of the labels; of a stream, its files instead of the training images. ``fingerprint``
    is one of them all. Both are the same wherever the data lies. ``notes`` say what was recognized,
    chosen, skipped or changed when the data was read, in a sentence each; ``seen`` is what
    kinds of numbers the images hold.
    """

    name: str
    source: str
    fingerprint: str
    train: Split
    test: Split
    test_origin: str
    label_names: tuple[str, ...]
    factors: tuple[Factor, ...] = ()
    notes: tuple[str, ...] = ()
    seen: Seen = NOTHING
    stream: Stream | None = None
    pictures: Pictures | None = None
    """Where training examples are crops: the whole pictures, of which ``train`` has but some crops
    of a fixed grid."""
    digests: Mapping[str, str] = field(default_factory=dict)
    validation: Split | None = None
    validation_origin: str = ""
    domain: str = "images"
    """What an example is: the name of a domain."""
    columns: tuple[str, ...] = ()
    """Names of the numbers of an example, where they have some; those of images have none."""
    attributes: tuple[Attribute, ...] = ()
    """What examples are given, where that is something else than one label; ``label_names`` are
    then those of the first that has some."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What the domain is told of the examples besides, by the names of its fields."""

    @property
    def given(self) -> tuple[Attribute, ...]:
        """What examples are given."""
        return self.attributes or label_attribute(self.label_names)

    @property
    def train_images(self) -> int:
        """The number of training images in an epoch."""
        if self.stream is not None:
            return self.stream.images
        return len(self.train) if self.pictures is None else len(self.pictures)

    @property
    def sampled(self) -> bool:
        """Whether ``train`` is but a sample of what a run sees."""
        return self.stream is not None or self.pictures is not None

    @property
    def fields(self) -> tuple[Field, ...]:
        """What is stored of every example."""
        arrays = self.train.fields.items()
        return tuple(Field(name, array.shape[1:], array.dtype.name) for name, array in arrays)

    @property
    def examples(self) -> str:
        """What they are called, such as images or rows."""
        return self.domain_class.part.examples

    @property
    def domain_class(self) -> type[Domain]:
        """What an example is."""
        return DOMAINS[self.domain]

    def has(self, trait: str) -> bool:
        """Whether examples have a trait, such as ``pictures``: they can be looked at."""
        return trait in self.domain_class.part.traits

    @property
    def shape(self) -> tuple[int, ...]:
        """Of every example."""
        return self.train.stored.shape[1:]

    @property
    def channels(self) -> int | None:
        """The first axis of examples of several; None of others."""
        return self.shape[0] if len(self.shape) > 1 else None

    @property
    def side(self) -> int:
        """The shortest of examples that have some; 0 of others."""
        return min(self.shape[1:]) if self.has("grid") else 0

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of every image."""
        channels, height, width = self.train.images.shape[1:]
        return channels, height, width

    def labelled(self, whole_training: bool = False) -> "ImageData":
        """The same without the images that have no label, where others have one.

        Args:
            whole_training: keep those of the training split.

        Raises:
            DistvaeError: no image of a split has one.
        """
        if not self.label_names or self.train.labels is None:
            return self
        splits = {"training": self.train, "test": self.test}
        if self.validation is not None:
            splits["validation"] = self.validation
        whole = all(split.labelled == len(split) for split in splits.values())
        if whole and not self.sampled:
            return self
        bare = next((name for name, split in splits.items() if not split.labelled), "")
        if bare:
            raise DistvaeError(
                f"no image of the {bare} split of {self.source} has a label",
                "a conditional model is trained and tested on labelled images",
                "Choose other splits by --split-train, --split-test and --split-validation, or "
                "take --model vae.",
            )
        counts = ", ".join(
            f"{one.labelled:,} of {len(one):,} {name}" for name, one in splits.items()
        )
        note = f"only labelled images are used, as labels are needed: {counts} images"
        if whole_training:
            note = f"labelled are {counts} {self.examples}; those for training are all used"
        stream = self.stream
        if stream is not None:
            stream = stream.labelled(self.train.labelled / len(self.train))
            note = f"{note}, counted in a sample; an epoch has {stream.images:,}"
        pictures = self.pictures
        if pictures is not None and not whole_training:
            pictures = pictures.only_labelled()
        train, test, *rest = (one.only_labelled() for one in splits.values())
        return dataclasses.replace(
            self,
            train=self.train if whole_training else train,
            test=test,
            validation=rest[0] if rest else None,
            stream=stream,
            pictures=pictures,
            notes=self.notes if whole else (*self.notes, note),
        )

    @property
    def num_labels(self) -> int:
        """The number of labels; 0 for unlabelled images."""
        return len(self.label_names)
