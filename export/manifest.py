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
from distvae.domains import Domain, read_domain
from distvae.errors import DistvaeError
from distvae.fields import Field
from distvae.reading import parse_json
from distvae.records import earlier_domain
from distvae.values import Within, coerce

KEY = "distvae.manifest"
"""Metadata key under which the object stands."""
FORMAT = 3
"""Raised when an older reader would misread a newer file. The first one knew two domains alone, the
second no encoder that gives the noise."""
DECODER, ENCODER, SCORER = "decoder", "encoder", "score"
LATENT_DECODER, LATENT_ENCODER = "latent_decoder", "latent_encoder"
"""Of latents at every place, for images of any size; the former takes the latents themselves."""
LATENTS = "latents"
"""What it takes."""
RESERVED = ("noise", "image", "values", "mean", "log_variance", "mean_image", "label")
"""Names of inputs and outputs that are no attributes."""
NOISE = "noise"
"""What a decoder takes, and an encoder may give."""
CODES, BOOK = "codes", "book"
"""What an encoder also gives where the latents are codes: their numbers, int64, and the values that
each code of the book stands for, which are the same for every example."""
SCORES = ("distortion", "rate", "score")
"""Outputs of a scorer, float32 ``[batch]``; see :mod:`distvae.evaluation.anomaly`."""
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
class CodesRecord:
    """Latents that are codes of a book."""

    grid: tuple[_Size, ...]
    """How the codes of an example lie: height and width, or how many there are."""
    book: _Size
    """Codes there are to choose from."""
    width: _Size
    """Numbers that a code stands for."""


@dataclass(frozen=True)
class AnySizeRecord:
    """How latents lie at every place of an example of any size."""

    factor: _Size
    """How many times smaller they are than the example, along every side."""
    reach: Annotated[int, Within(0, 2**24)] | None
    """Pixels on either side of its own that a place of what the graph gives depends on; None: all
    there are, through attention or norms over space."""


@dataclass(frozen=True)
class ThresholdRecord:
    """The score above which an example is told to be unlike the training data."""

    score: float
    false_alarms: Annotated[float, Within(0, 1, open=True, below=True)]
    """Share of held-out examples that lie above."""
    examples: _Size
    """How many were held out."""
    split: str
    """Where they come from."""


@dataclass(frozen=True)
class Manifest:
    """The facts of one exported graph."""

    domain: Domain
    """What the decoder gives and the encoder takes; in the file its :meth:`Domain.record`."""
    graph: str
    """``decoder`` (noise to example), ``encoder`` (example to posterior) or ``score``; of latents
    at every place also ``latent_decoder`` (latents to example) and ``latent_encoder``."""
    precision: str
    """``fp32``, ``fp16`` or ``int8``."""
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
    attributes: tuple[Attribute, ...] = ()
    """Where the graph takes something else than one label: an input for each, see ``given``."""
    levels: tuple[LevelRecord, ...] = ()
    """Of the latents, the one nearest to the noise first, where they are not one vector."""
    gives_noise: bool = False
    """Whether an encoder also gives ``noise``, which the decoder turns into the mean."""
    codes: CodesRecord | None = None
    """Of an encoder whose latents are codes, and which tells them."""
    threshold: ThresholdRecord | None = None
    """Of a scorer, where held-out examples were at hand."""
    any_size: AnySizeRecord | None = None
    """Of a ``latent_decoder`` or ``latent_encoder``, which take any sides."""

    @property
    def given(self) -> dict[str, str]:
        """What the graph is given of each example: names of inputs, and their types.

        One label is ``label``, int64. Of several attributes each is an input of its own name: a
        label int64, -1 where it is not known; a number float32, NaN where it is not known.
        """
        if self.label_names:
            return {"label": "int64"}
        kinds = ["int64" if each.labels else "float32" for each in self.attributes]
        taken = SCORES if self.graph == SCORER else (CODES, BOOK) if self.codes else ()
        names = input_names([each.name for each in self.attributes], taken)
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
        return self.domain.field._replace(name=self.domain.tensor)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the numbers of a row of a table; of other examples there are none."""
        return self.domain.names

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
        facts = {**vars(self), "domain": self.domain.record()}
        for name in ("attributes", "levels"):
            facts[name] = [dataclasses.asdict(each) for each in facts[name]]
        for name in ("attributes", "levels", "gives_noise"):
            if not facts[name]:
                del facts[name]
        for name in ("codes", "threshold", "any_size"):
            if facts[name] is None:
                del facts[name]
            else:
                facts[name] = dataclasses.asdict(facts[name])
        return json.dumps(facts, sort_keys=True, ensure_ascii=False)


def input_names(attributes: Sequence[str], outputs: Sequence[str] = ()) -> list[str]:
    """What the input of each attribute is called: as itself, unless other tensors are called so."""
    of_levels = tuple(f"{name}." for name in POSTERIOR)
    result: list[str] = []
    for attribute in attributes:
        others = {*attributes} - {attribute}
        name, taken = attribute, {*RESERVED, *outputs, *others, *result}
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
    if not 1 <= found <= FORMAT:
        raise DistvaeError(
            f"{source} has manifest format {found}",
            f"this distvae reads formats up to {FORMAT}",
            "Upgrade distvae, or export the run again.",
        )
    with _reporting_damage(source):
        facts = _of_this_format(facts)
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
    if not _sizes_fit(manifest):
        raise _damaged(source, "any_size does not fit graph, levels and domain")
    return manifest


def _sizes_fit(manifest: Manifest) -> bool:
    """Whether a graph says how latents lie if, and only if, they lie at every place."""
    if manifest.any_size is None:
        return manifest.graph not in (LATENT_DECODER, LATENT_ENCODER)
    (_, *places), *others = [level.shape for level in manifest.levels] or [()]
    sides = tuple(manifest.any_size.factor * side for side in places)
    return not others and len(sides) > 1 and sides == manifest.example.shape[1:]


def _of_this_format(facts: dict[str, Any]) -> dict[str, Any]:
    """The facts of a file, whatever format they have, with their domain.

    Raises:
        DistvaeError: they do not say what an example is, or it is damaged.
    """
    facts = {**facts, "format": FORMAT}
    domain = facts.get("domain")
    if domain is None:
        vectors = coerce("vectors", facts.pop("vectors", None), dict[str, Any] | None, KEY)
        domain = earlier_domain(facts.pop("image_shape", None), vectors)
    if not domain:
        raise DistvaeError("what an example is", "expected domain, or one of earlier formats")
    facts["domain"] = read_domain(coerce("domain", domain, dict[str, Any], KEY), KEY)
    return facts


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
