"""A value as it stands in YAML or JSON, and as its type has it."""

import dataclasses
import math
import types
import typing
from abc import ABCMeta
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from distvae.errors import DistvaeError, nearest, shown

YAML_WORDS = {True: ("on", "yes"), False: ("off", "no")}
"""What YAML 1.1 reads as booleans where it is not quoted."""
LARGEST = 10**15
"""Of numbers that have no other bound: far beyond what makes sense, and still exact in 64 bits."""
REST = {"rest": True}
"""``field(metadata=REST)`` of a dataclass takes the names that no other field has."""


@dataclass(frozen=True)
class Within:
    """Bounds of a number, or of how many items a list, a table or a text has: part of a type.

    ``Annotated[int, Within(1, 100)]`` is a whole number from 1 to 100.
    """

    least: float
    most: float = math.inf
    open: bool = False
    """Whether the least is left out."""
    below: bool = False
    """Whether the most is left out."""

    def __contains__(self, value: Any) -> bool:
        """Whether a value lies within; what is left out does not."""
        if value is None:
            return False
        size = value if isinstance(value, int | float) else len(value)
        return self._above(size) and (size < self.most if self.below else size <= self.most)

    def __str__(self) -> str:
        lower = f"{'more than' if self.open else 'at least'} {self.least}"
        if self.most == math.inf:
            return lower
        if not self.open and not self.below:
            return f"from {self.least} to {self.most}"
        return f"{lower} and {'less than' if self.below else 'at most'} {self.most}"

    def missed(self, value: Any) -> str | None:
        """What a value, or its size, should be, where it lies beyond a bound."""
        if value in self:
            return None
        size, counted = (value, "") if isinstance(value, int | float) else (len(value), " of them")
        if not self._above(size):
            return f"{'above' if self.open else 'at least'} {self.least}{counted}"
        return f"{'below' if self.below else 'at most'} {self.most}{counted}"

    def _above(self, size: float) -> bool:
        return self.least < size if self.open else self.least <= size


@dataclass(frozen=True)
class Word:
    """What a text names: part of its type. Help calls it so, and a shell completes it by this."""

    metavar: Literal["RUN", "THING", "DATA", "RECIPE", "LABELS", "FILE", "FOLDER", "PATH", "NAME"]
    options: tuple[str, ...] = ()
    """All that there are, where that is known."""


@dataclass(frozen=True)
class Aliases:
    """Other names of a flag: part of the type of its field."""

    names: tuple[str, ...]


Count = Annotated[int, Within(1, LARGEST)]
Positive = Annotated[float, Within(0, LARGEST, open=True)]
NotNegative = Annotated[float, Within(0, LARGEST)]
Widths = Annotated[tuple[Annotated[int, Within(1, 2**20)], ...], Within(1, 2**10)]
"""Of the layers of a network."""
Decay = Annotated[float, Within(0, 1, below=True)]
RunName = Annotated[str, Word("RUN")]
"""A run folder, a checkpoint or a name in runs/; where it is said, an ONNX file."""
ThingName = Annotated[str, Word("THING")]
"""A run or data."""
DataName = Annotated[str, Word("DATA")]
"""A path, the name of a bundled set, or a Hub id."""
RecipeName = Annotated[str, Word("RECIPE")]
"""A YAML file, or the name of one that comes with distvae."""
LabelNames = Annotated[str, Word("LABELS")]
"""Of the run that stands on the same command line."""
FileName = Annotated[str, Word("FILE")]
FolderName = Annotated[str, Word("FOLDER")]
PathName = Annotated[str, Word("PATH")]
"""A file or a folder, by its ending."""
Name = Annotated[str, Word("NAME")]
"""Of what only the data, or another program, knows."""

_UNIONS = (types.UnionType, typing.Union)


def named(kind: Any) -> Any:
    """``kind`` without None."""
    if typing.get_origin(kind) not in _UNIONS:
        return kind
    return typing.Union[tuple(each for each in typing.get_args(kind) if each is not type(None))]  # noqa: UP007


def coerce(name: str, value: Any, kind: Any, origin: str) -> Any:
    """``value`` as type ``kind``, which may be a dataclass of such types.

    YAML's lists become tuples and its whole numbers floats; every number is finite. Of a dataclass
    the fields without a default must be there; what it has no field for is left out.

    Args:
        name: what the value is called, for the message; empty for a whole file.
        value: as it was read.
        kind: what it should be.
        origin: where it was read, for the message.

    Raises:
        DistvaeError: it is something else.
    """
    if kind is Any or (value is None and type(None) in typing.get_args(kind)):
        return value
    kind = named(kind)
    form, options = typing.get_origin(kind), typing.get_args(kind)
    if form is Annotated:
        return _bounded(name, value, kind, origin)
    if form is Literal:
        return _choice(name, value, options, origin)
    if form in _UNIONS and type(value) in options:
        return value
    if form is tuple and isinstance(value, list | tuple):
        kinds = options[:1] * len(value) if options[-1] is ... else options
        if len(kinds) == len(value):
            items = enumerate(zip(value, kinds, strict=True))
            return tuple(coerce(f"{name}[{i}]", item, each, origin) for i, (item, each) in items)
    if form is dict and isinstance(value, dict):
        return {
            key: coerce(_of(name, key), item, options[1], origin) for key, item in value.items()
        }
    if dataclasses.is_dataclass(kind) and isinstance(value, dict):
        return _record(name, value, kind, origin)
    if kind is float and (number := _number(value)) is not None:
        return number
    if type(value) is kind is not float:
        return value
    if isinstance(kind, ABCMeta) and isinstance(value, kind):  # read already
        return value
    found = f"{name} is {shown(value)} in {origin}" if name else f"{origin} holds {shown(value)}"
    raise DistvaeError(found, f"expected {_describe(kind)}")


def _bounds(marks: Iterable[Any]) -> Iterator[Within]:
    """The bounds among the marks of a type."""
    return (mark for mark in marks if isinstance(mark, Within))


def _number(value: Any) -> float | None:
    """A finite number; YAML 1.1 reads 1e-3 as a string."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _choice(name: str, value: Any, options: tuple[Any, ...], origin: str) -> Any:
    if isinstance(value, bool):
        value = next((word for word in YAML_WORDS[value] if word in options), value)
    if type(value) in {type(option) for option in options} and value in options:
        return value
    found, words = shown(value), list(map(str, options))
    raise DistvaeError(
        f"{name} is {found} in {origin}", f"one of {', '.join(words)}", nearest(found, words)
    )


def _bounded(name: str, value: Any, kind: Any, origin: str) -> Any:
    plain, *marks = typing.get_args(kind)
    result = coerce(name, value, plain, origin)
    for bound in _bounds(marks):
        if result not in bound:
            counted = "" if isinstance(result, int | float) else f"{len(result):,} items: "
            raise DistvaeError(
                f"{name} is {counted}{shown(value)} in {origin}",
                f"expected {_describe(plain)}, {bound}",
            )
    return result


def expected(value: Any, kind: Any) -> str | None:
    """What a value of a type should be, where it is not finite or beyond a bound of the type.

    Args:
        value: None lies within every bound.
        kind: its type, of numbers and tuples of them.
    """
    if value is None:
        return None
    if isinstance(value, float) and not math.isfinite(value):
        return "a finite number"
    kind = named(kind)
    if typing.get_origin(kind) is Annotated:
        plain, *marks = typing.get_args(kind)
        missed = next((found for each in _bounds(marks) if (found := each.missed(value))), None)
        return missed or expected(value, plain)
    if typing.get_origin(kind) is tuple:
        item = typing.get_args(kind)[0]
        found = next(filter(None, (expected(each, item) for each in value)), None)
        return found and f"each of them {found}"
    return None


def _record(name: str, value: dict[str, Any], kind: Any, origin: str) -> Any:
    kinds = typing.get_type_hints(kind, include_extras=True)
    fields = [field for field in dataclasses.fields(kind) if field.init]
    needed = [
        field.name
        for field in fields
        if field.default is field.default_factory is dataclasses.MISSING and field.metadata != REST
    ]
    if absent := [each for each in needed if each not in value]:
        place = f"{name} in {origin}" if name else origin
        raise DistvaeError(f"{place} lacks {', '.join(absent)}")
    found = {
        field.name: coerce(_of(name, field.name), value[field.name], kinds[field.name], origin)
        for field in fields
        if field.name in value and field.metadata != REST
    }
    taken = {field.name for field in fields if field.metadata != REST}
    for field in fields:
        if field.metadata == REST:
            others = {key: item for key, item in value.items() if key not in taken}
            found[field.name] = coerce(name, others, kinds[field.name], origin)
    return kind(**found)


def _of(name: str, key: str) -> str:
    return f"{name}.{key}" if name else key


def _describe(kind: Any) -> str:
    form, options = typing.get_origin(kind), typing.get_args(kind)
    if form is Annotated:
        return _describe(options[0])
    if form is tuple and options[-1] is ...:
        return f"a list of {_describe(options[0])}"
    if form is tuple:
        return f"a list of {len(options)} values"
    if form is dict or dataclasses.is_dataclass(kind):
        return "names and their values"
    if form in _UNIONS:
        return " or ".join(map(_describe, options))
    plain = {int: "a whole number", float: "a finite number", bool: "true or false", str: "text"}
    return plain.get(kind, str(kind))
