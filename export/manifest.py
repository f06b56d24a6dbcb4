"""What an exported file says of itself: one JSON object in its ONNX metadata. No torch.

It is all that a sampler needs to know, and all that a reader needs to find the model again.
"""

import dataclasses
import json
from dataclasses import dataclass
from typing import Any

from distvae.errors import DistvaeError

KEY = "distvae.manifest"
"""Metadata key under which the object stands."""
FORMAT = 1
"""Raised when an older reader would misread a newer file."""
DECODER, ENCODER = "decoder", "encoder"


@dataclass(frozen=True)
class Manifest:
    """The facts of one exported graph."""

    graph: str
    """``decoder`` (noise to image) or ``encoder`` (image to posterior)."""
    precision: str
    """``fp32``, ``fp16`` or ``int8``."""
    image_shape: tuple[int, int, int]
    """Channels, height and width; an image is uint8, 0 to 255."""
    noise_dim: int
    """Length of the noise vector that becomes one image."""
    latent_dim: int
    label_names: tuple[str, ...]
    """Names of the labels in the order of their numbers; empty for a model without labels."""
    prior: str
    likelihood: str
    network: str
    settings: dict[str, Any]
    """What the model was trained with: model, objective, optimization and preprocessing."""
    data: dict[str, Any]
    """Name and fingerprint of the training data."""
    weights_sha256: str
    """Checksum of the weights that the graph was made from."""
    opset: int
    versions: dict[str, str]
    """Packages that made the file."""
    format: int = FORMAT

    @property
    def conditional(self) -> bool:
        """Whether the graph takes a label."""
        return bool(self.label_names)

    def to_json(self) -> str:
        """One JSON object, the same bytes for the same facts."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True, ensure_ascii=False)


def parse_manifest(text: str | None, source: str) -> Manifest:
    """The manifest of a file's metadata entry.

    Args:
        text: what stands under :data:`KEY`, None where nothing does.
        source: name of the file, for the message.

    Raises:
        DistvaeError: the file is not ours, is of a newer format, or its manifest is damaged.
    """
    if text is None:
        raise DistvaeError(
            f"{source} was not exported by distvae",
            f"its metadata has no {KEY}",
            "Export a run: distvae export --onnx",
        )
    try:
        facts = json.loads(text)
        found = facts["format"]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise DistvaeError(
            f"{source} has a damaged manifest", f"{KEY} in its metadata is not ours", "Export anew."
        ) from error
    if found != FORMAT:
        raise DistvaeError(
            f"{source} has manifest format {found!r}",
            f"this distvae reads format {FORMAT}",
            "Upgrade distvae, or export the run again.",
        )
    fields = {field.name for field in dataclasses.fields(Manifest)}
    if facts.keys() != fields:
        wrong = ", ".join(sorted(facts.keys() ^ fields))
        raise DistvaeError(
            f"{source} has a damaged manifest", f"missing or unknown: {wrong}", "Export anew."
        )
    shape, names = facts.pop("image_shape"), facts.pop("label_names")
    sizes = [*(shape if isinstance(shape, list) else []), facts["noise_dim"], facts["latent_dim"]]
    if len(sizes) != 5 or not all(type(size) is int and size > 0 for size in sizes):
        wrong = "image_shape, noise_dim and latent_dim are not five sizes"
    elif not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        wrong = "label_names is no list of names"
    elif len(set(names)) != len(names):
        wrong = "two of label_names are the same"
    else:
        return Manifest(image_shape=tuple(shape), label_names=tuple(names), **facts)
    raise DistvaeError(f"{source} has a damaged manifest", wrong, "Export anew.")
