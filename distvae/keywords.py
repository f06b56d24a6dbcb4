"""Keywords of a call in Python to a dataclass of flags: the same names, checks and hints.

A keyword is the field of a flag. Its value is what the flag's type says; a number or path of
another library is taken as its own, and text is read as on a command line.
"""

import dataclasses
import inspect
import os
import re
import typing
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeVar

from distvae.errors import DistvaeError, shown
from distvae.flags import Flag, Positional, bare, groups_of
from distvae.hints import hint, value_meant
from distvae.values import coerce, named

Kind = TypeVar("Kind")


class _Taken(NamedTuple):
    flag: Flag
    kind: Any
    """Of its value, without the marks of a flag."""


def filled(kind: type[Kind], keywords: Mapping[str, Any], call: str) -> Kind:
    """A dataclass of flags with what keywords say.

    Args:
        kind: in which every field has a default.
        keywords: values by name.
        call: what takes the keywords, for errors.

    Raises:
        DistvaeError: a name is unknown, or a value of another type.
    """
    return applied(kind(), taken(kind, keywords, call))


def applied(whole: Kind, values: Mapping[str, Any]) -> Kind:
    """A dataclass of flags with some fields changed, those of its groups too."""
    for group in groups_of(whole):
        changed = {flag.field: values[flag.field] for flag in group.flags if flag.field in values}
        holder = dataclasses.replace(group.holder, **changed)
        changes = {group.field: holder} if group.field else changed
        whole = dataclasses.replace(whole, **changes)  # type: ignore[type-var]
    return whole


def taken(kind: type[Any], keywords: Mapping[str, Any], call: str) -> dict[str, Any]:
    """The values of keywords by field; as :func:`filled` reads them.

    A flag that may stand alone, such as ``--resume``, is so with True, and left out with False.
    """
    known = _known(kind())
    values = {}
    for name, value in keywords.items():
        if name not in known:
            raise _unknown(name, list(known), call)
        if value is False and known[name].kind is not bool and _stands_alone(known[name]):
            continue
        values[name] = _value(known[name], value, call)
    return values


def spelled(kind: type[Any], keywords: Mapping[str, Any], call: str) -> list[str]:
    """The words of a command line that say what keywords say; as :func:`filled` reads them."""
    known = _known(kind())
    words = []
    for name, value in taken(kind, keywords, call).items():
        flag = known[name].flag
        word = flag.names[0]
        if flag.form is None:
            words.append(word if value else f"--no-{word.removeprefix('--')}")
        else:
            words.append(f"{word}={written(value)}")
    return words


def written(value: Any) -> str:
    """The value of a flag as a command line has it.

    >>> written((256, 128)), written(True), written(None)
    ('256,128', 'on', 'None')
    """
    if isinstance(value, bool):
        return "on" if value else "off"
    return ",".join(map(str, value)) if isinstance(value, tuple | list) else str(value)


def signature(kind: type[Any], first: str) -> inspect.Signature:
    """That of a call whose keywords are the flags of a dataclass, with their defaults.

    Args:
        kind: of flags.
        first: which of them may be given by its place.
    """
    known = _known(kind())
    names = [first, *(name for name in known if name != first)]
    places = {first: inspect.Parameter.POSITIONAL_OR_KEYWORD}
    return inspect.Signature(
        [
            inspect.Parameter(
                name,
                places.get(name, inspect.Parameter.KEYWORD_ONLY),
                default=known[name].flag.default,
                annotation=known[name].kind,
            )
            for name in names
        ]
    )


def _known(whole: Any) -> dict[str, _Taken]:
    """Every flag by its field, but for what is given by its place."""
    found = {}
    for group in groups_of(whole):
        hints = typing.get_type_hints(type(group.holder), include_extras=True)
        for flag in group.flags:
            kind = hints[flag.field]
            if Positional not in getattr(kind, "__metadata__", ()):
                found[flag.field] = _Taken(flag, bare(kind))
    return found


def _stands_alone(known: _Taken) -> bool:
    """Whether a flag may have no value, and is no switch."""
    form = known.flag.form
    return form is not None and form.alone is not None and _plain(known.kind) is not bool


def _plain(kind: Any) -> Any:
    """A type without None and bounds."""
    return bare(named(bare(kind)))


def _value(known: _Taken, value: Any, call: str) -> Any:
    flag, kind = known
    if getattr(value, "shape", None) == () and hasattr(value, "item"):
        value = value.item()  # of NumPy or torch
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    plain = _plain(kind)
    if value is True and flag.form is not None and _stands_alone(known):
        return flag.form.alone
    if isinstance(value, str) and flag.form is not None and plain is not str:
        try:
            return flag.form.read(value)
        except ValueError:
            raise DistvaeError(
                f"{flag.field} is {shown(value)} in {call}(...)",
                f"expected {flag.form.expected}",
                value_meant(value, flag.form.options),
            ) from None
    if typing.get_origin(plain) is tuple and isinstance(value, bool | int | float):
        value = (value,)
    return coerce(flag.field, value, kind, f"{call}(...)")


def _unknown(name: str, known: list[str], call: str) -> DistvaeError:
    flags: dict[str, str | None] = {f"--{each.replace('_', '-')}": None for each in known}
    told = hint([], [f"--{name.replace('_', '-')}"], flags, by_place=False)
    return DistvaeError(
        f"{call} has no keyword {name!r}",
        "its keywords are the flags of the command, with underscores",
        re.sub(r"--([a-z-]+)(?: ([\w/]+)(?=\?))?", _as_keyword, told),
    )


def _as_keyword(flag: "re.Match[str]") -> str:
    name, value = flag[1].replace("-", "_"), flag[2]
    return f"{name}={value!r}" if value else name
