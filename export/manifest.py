"""What an exported file says of itself: one JSON object in its ONNX metadata. No torch.

It is all that a sampler needs to know, and all that a reader needs to find the model again.
"""

import contextlib
import dataclasses
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from distvae.attributes import Attribute
from distvae.errors import DistvaeError
from distvae.fields import VALUES, Field
from distvae.reading import parse_json
from distvae.records import VectorsRecord
from distvae.values import Within, coerce

KEY = "distvae.manifest"
"""Metadata key under which the object stands."""
FORMAT = 1
"""Raised when an older reader would misread a newer file."""
DECODER, ENCODER = "decoder", "encoder"
RESERVED = ("noise", "image", "values", "mean", "log_variance", "mean_image", "label")
"""Names of inputs and outputs that are no attributes."""
POSTERIOR = ("mean", "log_variance")
"""Outputs of an encoder; of several levels, a dot and the name of the level follow."""
_Size = Annotated[int, Within(1, 2**24)]


@dataclass(frozen=True)
class LevelRecord:
    """Latents that are drawn together, given those of the levels before."""

    name: str
    shape: tuple[_Size, ...]
    """Of one draw."""


@dataclass(frozen=True)
class Manifest:
    """The facts of one exported graph."""

    graph: str
    """``decoder`` (noise to example) or ``encoder`` (example to posterior)."""
    precision: str
    """``fp32``, ``fp16`` or ``int8``."""
    image_shape: tuple[_Size, _Size, _Size] | None
    """Channels, height and width; an image is uint8, 0 to 255. None of examples of another kind."""
    noise_dim: _Size
    """Length of the noise vector that becomes one example."""
    latent_dim: _Size
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
    vectors: VectorsRecord | None = None
    """Names and scales of the columns of vectors; a row is float32, in the units of the data."""
    attributes: tuple[Attribute, ...] = ()
    """Where the graph takes something else than one label: an input for each, see ``given``."""
    levels: tuple[LevelRecord, ...] = ()
    """Of the latents, the one nearest to the noise first, where they are not one vector."""

    @property
    def given(self) -> dict[str, str]:
        """What the graph is given of each example: names of inputs, and their types.

        One label is ``label``, int64. Of several attributes each is an input of its own name: a
        label int64, -1 where it is not known; a number float32, NaN where it is not known.
        """
        if self.label_names:
            return {"label": "int64"}
        kinds = ["int64" if each.labels else "float32" for each in self.attributes]
        names = input_names([each.name for each in self.attributes])
        return dict(zip(names, kinds, strict=True))

    @property
    def posteriors(self) -> dict[str, dict[str, tuple[int, ...]]]:
        """What an encoder gives, by level: names of its outputs, and the shape of each.

        Of one level they are ``mean`` and ``log_variance``, of several ``mean.LEVEL`` and
        ``log_variance.LEVEL``.
        """
        levels = self.levels or (LevelRecord("z", (self.latent_dim,)),)
        return {
            level.name: {
                name if len(levels) == 1 else f"{name}.{level.name}": level.shape
                for name in POSTERIOR
            }
            for level in levels
        }

    @property
    def example(self) -> Field:
        """What the decoder gives and the encoder takes: its name, shape and type."""
        if self.image_shape is not None:
            return Field("image", self.image_shape, "uint8")
        return Field(VALUES, (len(self.columns),), "float32")

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the numbers of a vector; of images there are none."""
        return self.vectors.columns if self.vectors else ()

    @property
    def pixels(self) -> int:
        """Of an image, channels not counted; of a vector, its columns."""
        return math.prod(self.example.shape[-2:])

    @property
    def conditional(self) -> bool:
        """Whether the graph takes a label or attributes."""
        return bool(self.given)

    def to_json(self) -> str:
        """One JSON object, the same bytes for the same facts."""
        facts = dataclasses.asdict(self)
        if self.vectors is None:  # as earlier versions read it
            del facts["vectors"]
        for name in ("attributes", "levels"):
            if not facts[name]:
                del facts[name]
        return json.dumps(facts, sort_keys=True, ensure_ascii=False)


def input_names(attributes: Sequence[str]) -> list[str]:
    """What the input of each attribute is called: as itself, unless other tensors are called so."""
    of_levels = tuple(f"{name}." for name in POSTERIOR)
    result: list[str] = []
    for attribute in attributes:
        name, taken = attribute, {*RESERVED, *({*attributes} - {attribute}), *result}
        while name in taken or name.startswith(of_levels):
            name = f"attribute_{name}"
        result.append(name)
    return result


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
    with _reporting_damage(source):
        facts = parse_json(text, KEY)
        found = coerce("", facts, _Format, KEY).format
    if found != FORMAT:
        raise DistvaeError(
            f"{source} has manifest format {found}",
            f"this distvae reads format {FORMAT}",
            "Upgrade distvae, or export the run again.",
        )
    with _reporting_damage(source):
        manifest: Manifest = coerce("", facts, Manifest, KEY)
    unknown = facts.keys() - {field.name for field in dataclasses.fields(Manifest)}
    if unknown:
        raise _damaged(source, f"unknown: {', '.join(sorted(unknown))}")
    if len(set(manifest.label_names)) != len(manifest.label_names):
        raise _damaged(source, "two of label_names are the same")
    if manifest.label_names and manifest.attributes:
        raise _damaged(source, "expected one of label_names and attributes")
    if len({each.name for each in manifest.attributes}) < len(manifest.attributes):
        raise _damaged(source, "two of attributes have the same name")
    if len({level.name for level in manifest.levels}) < len(manifest.levels):
        raise _damaged(source, "two of levels have the same name")
    if (manifest.image_shape is None) == (manifest.vectors is None):
        raise _damaged(source, "expected one of image_shape and vectors")
    return manifest


@dataclass(frozen=True)
class _Format:
    format: int


@contextlib.contextmanager
def _reporting_damage(source: str) -> Iterator[None]:
    try:
        yield
    except DistvaeError as error:
        raise _damaged(source, f"{error.thing}: {error.expected}") from error


def _damaged(source: str, found: str) -> DistvaeError:
    return DistvaeError(f"{source} has a damaged manifest", found, "Export anew.")
