"""The shape of the files of a run folder, each said once. No torch."""

from dataclasses import dataclass, field
from typing import Annotated, Any

from distvae.attributes import Attribute, label_attribute
from distvae.choices import Binarization
from distvae.errors import DistvaeError
from distvae.fields import EXAMPLES, IMAGES, VALUES
from distvae.schedules import Part
from distvae.values import REST, Within

Scalar = str | int | float | bool | None
Count = Annotated[int, Within(0)]
Side = Annotated[int, Within(1, 2**16)]
Name = Annotated[str, Within(0, 10_000)]
Names = Annotated[tuple[Name, ...], Within(0, 100_000)]


Real = Annotated[float, Within(-1e300, 1e300)]


@dataclass(frozen=True)
class VectorsRecord:
    """The columns of a model of vectors, and how they are standardized."""

    columns: Annotated[Names, Within(1, 100_000)]
    mean: tuple[Real, ...]
    deviation: tuple[Real, ...]

    def __post_init__(self) -> None:
        """Refuse columns without their scale.

        Raises:
            DistvaeError: there is not one mean and one deviation above 0 for each.
        """
        fits = len(self.mean) == len(self.deviation) == len(self.columns) > 0
        if not fits or min(self.deviation) <= 0:
            raise DistvaeError(
                "the columns of a model are damaged",
                "expected a name, a mean and a deviation above 0 for each",
                "Use another copy of its config.json.",
            )


@dataclass(frozen=True)
class ModelRecord:
    """config.json of a bare model: what ``from_pretrained`` needs."""

    model: dict[str, Any]
    """Settings of :class:`distvae.config.ModelConfig`."""
    image_shape: tuple[Annotated[int, Within(1, 1024)], Side, Side] | None
    """Channels, height and width; None of examples that are no images."""
    label_names: Names
    attributes: tuple[Attribute, ...] = field(default=(), kw_only=True)
    """Where it is given something else than one label."""
    binarize: Binarization | None = field(default=None, kw_only=True)
    """How its inputs are made of stored images; None where an earlier version wrote it."""
    vectors: VectorsRecord | None = field(default=None, kw_only=True)
    """Of a model of vectors."""

    @property
    def given(self) -> tuple[Attribute, ...]:
        """What examples are given."""
        return self.attributes or label_attribute(self.label_names)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of an example."""
        if self.image_shape is not None:
            return self.image_shape
        return (len(self.vectors.columns),) if self.vectors else ()

    @property
    def examples(self) -> str:
        """What the examples are called: images or rows."""
        return EXAMPLES[IMAGES if self.image_shape is not None else VALUES]

    @property
    def told(self) -> str:
        """What the examples are, for people."""
        if self.image_shape is None:
            return f"vectors of {self.shape[0] if self.shape else 0} columns"
        return f"{'x'.join(map(str, self.image_shape))} images"


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
