"""What of an export does not fit a model."""

from typing import TYPE_CHECKING

from distvae.domains.levels import LEVELS
from distvae.errors import DistvaeError

if TYPE_CHECKING:
    from distvae.export.command import ExportConfig
    from distvae.models import VAE


def refuse_deep_page(config: "ExportConfig", model: "VAE") -> None:
    """Refuse a page of images that a browser cannot show as they are.

    Raises:
        DistvaeError: a page is asked for, and the images have more than 256 levels.
    """
    if config.web and (model.domain.levels or 0) > LEVELS:
        raise DistvaeError(
            f"--web does not fit {model.domain.told}",
            f"a page draws images of {LEVELS} levels",
            "Leave it out, or train with --bits 8.",
        )


def refuse_what_is_of_images(config: "ExportConfig", thing: str) -> None:
    """Refuse a page and smaller files of examples that are no images."""
    if config.web:
        raise DistvaeError(
            f"--web does not fit {thing}",
            "the page draws images",
            "Leave it out: sample.py and distvae sample write a table from decoder.onnx.",
        )
    if config.precision != "fp32":
        raise DistvaeError(
            f"--precision {config.precision} does not fit {thing}",
            "half floats and 8-bit integers are too coarse for numbers that are no grey levels, "
            "and a network of columns is small",
            "Leave it out.",
        )


def refuse_what_takes_a_label(config: "ExportConfig", model: "VAE") -> None:
    """Refuse smaller files of a model that is given several attributes."""
    given = ", ".join(each.name for each in model.attributes)
    if config.precision != "fp32":
        raise DistvaeError(
            f"--precision {config.precision} does not fit a model given {given}",
            "what it costs is judged by one label",
            "Leave it out.",
        )
