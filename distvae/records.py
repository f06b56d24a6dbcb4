"""The shape of the files of a run folder, each said once. No torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

from distvae.attributes import Attribute, label_attribute
from distvae.choices import Binarization
from distvae.schedules import Part
from distvae.values import REST, Within

Scalar = str | int | float | bool | None
Count = Annotated[int, Within(0)]
Side = Annotated[int, Within(1, 2**16)]
Name = Annotated[str, Within(0, 10_000)]
Names = Annotated[tuple[Name, ...], Within(0, 100_000)]


@dataclass(frozen=True)
class ModelRecord:
    """config.json of a bare model: what ``from_pretrained`` needs."""

    model: dict[str, Any]
    """Settings of :class:`distvae.config.ModelConfig`."""
    label_names: Names
    domain: dict[str, Any] | None = field(default=None, kw_only=True)
    """What examples are, as :meth:`distvae.domains.Domain.record` tells it."""
    attributes: tuple[Attribute, ...] = field(default=(), kw_only=True)
    """Where it is given something else than one label."""
    image_shape: tuple[Annotated[int, Within(1, 1024)], Side, Side] | None = field(
        default=None, kw_only=True
    )
    """In place of ``domain`` where an earlier version wrote it: images of these channels, height
    and width."""
    binarize: Binarization | None = field(default=None, kw_only=True)
    """Of such images; None where it was not written yet."""
    vectors: dict[str, Any] | None = field(default=None, kw_only=True)
    """The same of vectors: their columns."""

    @property
    def given(self) -> tuple[Attribute, ...]:
        """What examples are given."""
        return self.attributes or label_attribute(self.label_names)

    @property
    def example(self) -> dict[str, Any]:
        """What examples are, whichever version wrote it; empty where it is not said."""
        return self.domain or earlier_domain(self.image_shape, self.vectors, self.binarize)


def earlier_domain(
    image_shape: Sequence[int] | None,
    vectors: Mapping[str, Any] | None,
    binarize: str | None = None,
) -> dict[str, Any]:
    """What examples are by the facts of earlier versions, which knew images and vectors alone.

    Empty where there are not the facts of one of them.
    """
    if (image_shape is None) == (vectors is None):
        return {}
    if vectors is not None:
        return {"name": "vectors", **vectors}
    return {"name": "images", "shape": image_shape, "binarize": binarize or "none"}


@dataclass(frozen=True)
class DataRecord:
    """What a run says of its data."""

    source: str
    fingerprint: str
    train_images: Count
    test_images: Count
    test_split: str
    validation_images: Count = 0
    validation_split: str = ""
    """Those that judge while training, where they are others than the test images."""
    from_run: str | None = None
    """The way from the run folder to a source that is a path."""
    digests: dict[str, str] = field(default_factory=dict)
    """Of each part of what the data holds, by name; empty in runs of earlier versions."""


@dataclass(frozen=True)
class WorldRecord:
    """What a run was trained on."""

    device: str = "cpu"
    processes: Annotated[int, Within(1)] = 1
    threads: Annotated[int, Within(1)] = 1
    library: str | None = None
    """What multiplies matrices on a CPU; earlier versions did not say."""
    own_products: bool = False
    """Whether a step multiplies them by the kernel of this package."""


@dataclass(frozen=True)
class PrecisionRecord:
    """What a run computes in, and why."""

    asked: str
    taken: str
    why: str = ""


@dataclass(frozen=True)
class CaptureRecord:
    """Whether its steps are captured, and why not."""

    asked: str
    taken: str
    why: str = ""


@dataclass(frozen=True)
class TransferRecord:
    """What a run began with, where it was the weights of another model."""

    source: str
    weights_sha256: str
    taken: Names = ()
    fresh: Names = ()
    labels: Names = ()
    new_labels: Names = ()


@dataclass(frozen=True)
class RunRecord(ModelRecord):
    """config.json of a run."""

    settings: dict[str, Any]
    """Settings of :class:`distvae.config.TrainConfig`, flat."""
    data: DataRecord
    versions: dict[str, str] = field(default_factory=dict)
    """Of Python and of packages."""
    world: WorldRecord = WorldRecord()
    precision: PrecisionRecord | None = None
    capture: CaptureRecord | None = None
    init_from: TransferRecord | None = None
    schedule: tuple[Part, ...] = ()
    """The parts of the run, each with a schedule of its own; none where it was written before."""


@dataclass(frozen=True)
class MetricsLine:
    """A line of metrics.jsonl."""

    step: Count
    epoch: float
    split: str
    values: dict[str, Scalar] = field(metadata=REST)
    """What was measured, by name."""


@dataclass(frozen=True)
class Evaluation:
    """evaluation.json."""

    values: dict[str, Scalar] = field(metadata=REST)
    """What was measured, by name."""
    weights_sha256: str = ""
    """Of the tensors that it was measured on; earlier versions wrote that of their file."""
