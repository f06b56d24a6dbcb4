"""What the examples of a model are, by its config.json."""

from pathlib import Path

from distvae.domains.base import Domain
from distvae.domains.images import Images
from distvae.domains.vectors import Vectors
from distvae.errors import DistvaeError
from distvae.records import ModelRecord
from distvae.runs import CONFIG, binarization


def domain_recorded(folder: Path, record: ModelRecord) -> Domain:
    """What the examples of the model in a folder are.

    Raises:
        DistvaeError: its record does not say it.
    """
    if record.vectors is not None:
        return Vectors.of_record(record.vectors)
    if record.image_shape is None:
        raise DistvaeError(
            f"{folder / CONFIG} does not say what the examples are",
            "expected image_shape or vectors",
            "Use another copy.",
        )
    return Images(record.image_shape, binarization(folder, record))
