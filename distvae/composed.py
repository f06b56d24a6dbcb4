"""Settings that are composed of shared ones and of those of the parts."""

import functools
import typing
from dataclasses import MISSING, Field, field, fields
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

from distvae.declarations import declared, explained
from distvae.parts import Part
from distvae.values import Aliases


class Setting(NamedTuple):
    """A setting of some parts of a kind."""

    type: Any
    default: Any
    helps: dict[str, str]
    """By the names of the parts that read it."""


@functools.cache
def settings_of(kind: str) -> dict[str, Setting]:
    """The settings that parts of a kind read, by name."""
    result: dict[str, Setting] = {}
    for name, one in declared(kind).items():
        hints = typing.get_type_hints(one.part, include_extras=True)
        for each in fields(one.part):
            setting = result.setdefault(each.name, Setting(hints[each.name], each.default, {}))
            alike = setting[:2] == (hints[each.name], each.default)
            assert alike, f"parts disagree on the type or the default of {each.name}"
            setting.helps[name] = one.helps[each.name]
    return result


def choice(kind: str, default: str | None, intro: str, also: tuple[str, ...] = ()) -> Any:
    """A field of settings whose values are the parts of a kind; ``also`` are other flags for it."""
    metadata = {"kind": kind, "help": f"{intro}{explained(kind)}", "also": also}
    return field(default=default, metadata=metadata)


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
            also = default.metadata["also"]
            names = Annotated[names, Aliases(also)] if also else names
            hints[name] = names if default.default is not None else names | None
            for own, setting in settings_of(kind).items():
                assert own not in cls.__annotations__, f"{own} is a setting that all parts share"
                assert setting.default is not MISSING, f"{own} has no default"
                alike = hints.setdefault(own, setting.type) == setting.type
                assert alike, f"parts disagree on the type of {own}"
                helps[own] = f"{helps.get(own, '')} {_joined(kind, setting.helps)}".strip()
                metadata = {"help": helps[own]}
                setattr(cls, own, field(default=setting.default, metadata=metadata))
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
