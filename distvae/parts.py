"""What the parts of a model say of themselves.

A part is a file in the package of its kind, which it declares by a class statement, a :class:`Part`
whose fields are its settings: :class:`distvae.priors.vamp.VampPart` is one. Names, help, ranges,
refusals and the registries of the parts are all made of these statements, which
:mod:`distvae.declarations` reads without the rest of their files.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

from distvae.values import (
    LARGEST,
    Count,
    Decay,
    NotNegative,
    Positive,
    Widths,
    Within,
)


class Trait(str):
    """Any part that has this trait."""


class Need(NamedTuple):
    """What a part needs of another setting."""

    setting: str
    fitting: Collection[Any] | Within | Trait
    """Values of the setting that it goes with, or parts of its kind by trait."""
    why: str


WHOLE_BATCH = (
    Need("accumulate", (1,), "its term is one of the whole batch"),
    Need("importance_samples", (1, None), "it takes one draw of z"),
)
"""Of an objective in which the loss of an image depends on the others of its batch."""
INDEPENDENT = Need(
    "prior",
    (None, "normal"),
    "it holds q(z) against independent dimensions of mean 0 and variance 1",
)
MOMENTS = Need(
    "posterior", ("gaussian",), "it takes density or moments of the posterior by dimension"
)
ONE_LEVEL = Need("latent_space", Trait("one_level"), "it is for latents of one level")
WEIGHS = Need("reduction", ("sum",), "it weighs draws by whole images")
GREY = Need("binarize", (None, "none"), "it describes grey levels, not black and white")
EVEN_LEVELS = Need("domain", Trait("levels"), "it describes even levels from 0 to 1")
TAKES_TERMS = Need(
    "objective", Trait("takes_terms"), "it decodes an example once, and weighs it by itself"
)
"""Of a term that is added to an objective."""
PICTURES = Need("domain", Trait("pictures"), "it looks at pictures")
SIDES = Need("domain", Trait("sides"), "convolutions go along height and width")
GRID = Need("domain", Trait("grid"), "convolutions go along sides")


@dataclass(frozen=True)
class Part:
    """A part of a model: its name, its help, which is the docstring, and what it needs.

    The fields of a subclass are the settings that it reads; the string below one is its help.
    Parts of a package extend one declaration, which has no name, where they share settings or
    needs; parts may also share a setting with a help of its own for each.
    """

    name: ClassVar[str]
    builds: ClassVar[str | tuple[str, ...]]
    """What of its file is put into the registry, by name."""
    needs: ClassVar[tuple[Need, ...]] = ()
    traits: ClassVar[tuple[str, ...]] = ()
    """What needs of other parts ask for."""
    usual: ClassVar[bool] = False
    """Whether it may be taken where none is named."""

    def left_out(self) -> dict[str, Any]:
        """What settings of a run are where they are left out, by name."""
        return {}


@dataclass(frozen=True)
class DomainPart(Part):
    """What an example is."""

    examples: ClassVar[str] = "rows"
    """What people call examples."""
    material: ClassVar[Literal["pictures", "numbers"]] = "numbers"
    """What a source has to give: pictures to decode, or numbers as they are."""
    axes: ClassVar[int] = 1
    """Of an example."""
    likelihood: ClassVar[str] = "gaussian"
    """What describes examples where nothing else is asked for."""
    likelihood_of_one: ClassVar[str | None] = None
    """The same of examples of one channel; None: no other."""


@dataclass(frozen=True)
class MetricPart(Part):
    """A family of figures."""

    pictures: ClassVar[tuple[str, ...]] = ()
    """Names, without their ending, of those that it may draw into the folder of the run."""
    meanings: ClassVar[dict[str, str]] = {}
    """What its figures are, by name; one that is not here is shown by its name."""
    shares: ClassVar[tuple[str, ...]] = ()
    """What the names of figures that are shares of one begin with."""
    lower_is_better: ClassVar[tuple[str, ...]] = ()
    """The same of figures that are better the lower they are."""
    headlines: ClassVar[tuple[str, ...]] = ()
    """Names of the few that somebody looks for who only uses the model."""


NAMES: dict[str, Any] = {
    "LARGEST": LARGEST,
    "Count": Count,
    "Decay": Decay,
    "NotNegative": NotNegative,
    "Positive": Positive,
    "Widths": Widths,
    "Within": Within,
    "EVEN_LEVELS": EVEN_LEVELS,
    "GREY": GREY,
    "GRID": GRID,
    "INDEPENDENT": INDEPENDENT,
    "MOMENTS": MOMENTS,
    "ONE_LEVEL": ONE_LEVEL,
    "PICTURES": PICTURES,
    "SIDES": SIDES,
    "TAKES_TERMS": TAKES_TERMS,
    "WEIGHS": WEIGHS,
    "WHOLE_BATCH": WHOLE_BATCH,
    "Annotated": Annotated,
    "Any": Any,
    "ClassVar": ClassVar,
    "DomainPart": DomainPart,
    "Literal": Literal,
    "MetricPart": MetricPart,
    "Need": Need,
    "Part": Part,
    "Trait": Trait,
    "dataclass": dataclass,
}
"""All that the declaration of a part can use."""
