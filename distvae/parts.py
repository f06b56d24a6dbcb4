"""What the parts of a model say of themselves, read without the libraries that they compute with.

A part is a file in the package of its kind (``KINDS``), which it declares by a class statement, a
:class:`Part` whose fields are its settings: :class:`distvae.priors.vamp.VampPart` is one.
Names, help, ranges, refusals and the registries of the parts are all made of these statements. The
statement uses the names of this module alone (``NAMES``): it is run here without the rest of its
file, which imports torch, so that ``--help`` need not wait for it.
"""

import ast
import functools
import importlib
import re
import typing
from collections.abc import Collection, Iterator
from dataclasses import MISSING, Field, dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, TypeVar

from distvae.values import (
    LARGEST,
    Count,
    Decay,
    NotNegative,
    Positive,
    Widths,
    Within,
)

KINDS = {
    "domain": "domains",
    "network": "networks",
    "latent_space": "latents",
    "prior": "priors",
    "likelihood": "likelihoods",
    "objective": "objectives",
}
"""By the setting that chooses one: the package of its parts."""
PACKAGES = {**KINDS, "metric": "evaluation.metrics"}
"""Of all kinds; metrics are named by a flag of `distvae evaluate`."""


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
WEIGHS = Need("reduction", ("sum",), "it weighs draws by whole images")
GREY = Need("binarize", (None, "none"), "it describes grey levels, not black and white")
EVEN_LEVELS = Need("domain", Trait("levels"), "it describes even levels from 0 to 1")
SIDES = Need("domain", Trait("sides"), "convolutions go along height and width")


@dataclass(frozen=True)
class Part:
    """A part of a model: its name, its help, which is the docstring, and what it needs.

    The fields of a subclass are the settings that it reads; the string below one is its help.
    Parts of a kind may share a setting, each with a help of its own.
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
    "INDEPENDENT": INDEPENDENT,
    "MOMENTS": MOMENTS,
    "SIDES": SIDES,
    "WEIGHS": WEIGHS,
    "WHOLE_BATCH": WHOLE_BATCH,
    "Annotated": Annotated,
    "Any": Any,
    "ClassVar": ClassVar,
    "Literal": Literal,
    "MetricPart": MetricPart,
    "Need": Need,
    "Part": Part,
    "Trait": Trait,
    "dataclass": dataclass,
}
"""All that the declaration of a part can use."""
DECLARATION = re.compile(
    r"^(?:@dataclass.*\n)?class \w+\((?:Metric)?Part\):\n(?:(?:[ \t].*)?\n)+", re.MULTILINE
)


class Declared(NamedTuple):
    """A part as its file declares it."""

    part: type[Part]
    module: str
    """The full name of the module."""
    helps: dict[str, str]
    """Of its settings, by name."""

    @property
    def help(self) -> str:
        """What it is."""
        return _one_line(self.part.__doc__ or "")


class Setting(NamedTuple):
    """A setting of some parts of a kind."""

    type: Any
    default: Any
    helps: dict[str, str]
    """By the names of the parts that read it."""


@functools.cache
def declared(kind: str) -> dict[str, Declared]:
    """The parts of a kind, by name in the order of the alphabet."""
    package = PACKAGES[kind]
    folder = Path(__file__).parent.joinpath(*package.split("."))
    found: dict[str, Declared] = {}
    for path in folder.glob("*.py"):
        for one in declared_in(path, f"distvae.{package}.{path.stem}"):
            assert one.part.name not in found, f"two parts have the name {one.part.name}"
            found[one.part.name] = one
    return dict(sorted(found.items()))


def declared_in(path: Path, module: str) -> Iterator[Declared]:
    """The parts that a file declares, without importing it."""
    for text in DECLARATION.findall(path.read_text(encoding="utf-8")):
        tree = ast.parse(text)
        names = {**NAMES, "__name__": module}
        try:
            exec(compile(tree, str(path), "exec"), names)
        except NameError as error:
            known = (
                f"the declaration of a part is run without its file and knows {', '.join(NAMES)}"
            )
            raise NameError(f"{path}: {error}: {known}") from None
        (statement,) = tree.body
        assert isinstance(statement, ast.ClassDef)
        yield Declared(names[statement.name], module, helps_below(statement))


def helps_below(statement: ast.ClassDef) -> dict[str, str]:
    """The text under each field of a class, by name."""
    found = {}
    for above, below in zip(statement.body, statement.body[1:], strict=False):
        if isinstance(above, ast.AnnAssign) and isinstance(below, ast.Expr):
            found[ast.unparse(above.target)] = _one_line(ast.literal_eval(below.value))
    return found


def registry(kind: str) -> dict[str, Any]:
    """What the parts of a kind build, by name; their files are imported."""
    return {name: _built(one) for name, one in declared(kind).items()}


def _built(one: Declared) -> Any:
    module, builds = importlib.import_module(one.module), one.part.builds
    if isinstance(builds, str):
        return getattr(module, builds)
    return tuple(getattr(module, name) for name in builds)


@functools.cache
def settings_of(kind: str) -> dict[str, Setting]:
    """The settings that parts of a kind read, by name."""
    found: dict[str, Setting] = {}
    for name, one in declared(kind).items():
        hints = typing.get_type_hints(one.part, include_extras=True)
        for each in fields(one.part):
            setting = found.setdefault(each.name, Setting(hints[each.name], each.default, {}))
            alike = setting[:2] == (hints[each.name], each.default)
            assert alike, f"parts disagree on the type or the default of {each.name}"
            setting.helps[name] = one.helps[each.name]
    return found


def with_trait(kind: str, trait: str) -> tuple[str, ...]:
    """Names of the parts of a kind that have a trait."""
    return tuple(name for name, one in declared(kind).items() if trait in one.part.traits)


def usual(kind: str) -> tuple[str, ...]:
    """Names of the parts that may be taken where none is named."""
    return tuple(name for name, one in declared(kind).items() if one.part.usual)


def explained(kind: str) -> str:
    """What each of the parts of a kind is."""
    return " ".join(f"`{name}`: {one.help}" for name, one in declared(kind).items())


def choice(kind: str, default: str | None, intro: str) -> Any:
    """A field of settings whose values are the parts of a kind."""
    return field(default=default, metadata={"kind": kind, "help": f"{intro} {explained(kind)}"})


Class = TypeVar("Class", bound=type)
Own = TypeVar("Own", bound=Part)


def composed(cls: Class) -> Class:
    """Of a class that is to be a dataclass: after each choice come the settings of its parts."""
    hints: dict[str, Any] = {}
    helps: dict[str, str] = {}
    for name, hint in cls.__annotations__.items():
        default = vars(cls).get(name)
        hints[name] = hint
        if isinstance(default, Field) and (kind := default.metadata.get("kind")):
            names: Any = Literal.__getitem__(tuple(declared(kind)))
            hints[name] = names if default.default is not None else names | None
            for own, setting in settings_of(kind).items():
                assert own not in cls.__annotations__, f"{own} is a setting that all parts share"
                assert setting.default is not MISSING, f"{own} has no default"
                alike = hints.setdefault(own, setting.type) == setting.type
                assert alike, f"parts disagree on the type of {own}"
                helps[own] = f"{helps.get(own, '')} {_joined(kind, setting.helps)}".strip()
                told = {"help": helps[own]}
                setattr(cls, own, field(default=setting.default, metadata=told))
    cls.__annotations__ = hints
    return cls


class Composed:
    """Settings that are composed of shared ones and of those of the parts."""

    def of(self, part: type[Own]) -> Own:
        """Those of one part."""
        build: Any = part
        built: Own = build(**{each.name: getattr(self, each.name) for each in fields(part)})
        return built


def _joined(kind: str, helps: dict[str, str]) -> str:
    """The help of a setting; parts with the same help are told together."""
    owners: dict[str, list[str]] = {}
    for name, text in helps.items():
        owners.setdefault(text, []).append(name)
    return " ".join(
        f"With --{kind.replace('_', '-')} {', '.join(names)}: {text}"
        for text, names in owners.items()
    )


def _one_line(text: str) -> str:
    return " ".join(text.split())
