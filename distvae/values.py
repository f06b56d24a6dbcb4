"""A setting's value as it stands in YAML or JSON, and as its type has it."""

import types
import typing
from typing import Any, Literal

from distvae.errors import DistvaeError, nearest

YAML_WORDS = {True: ("on", "yes"), False: ("off", "no")}
"""What YAML 1.1 reads as booleans where it is not quoted."""


def named(kind: Any) -> Any:
    """``kind`` without None."""
    options = typing.get_args(kind)
    if typing.get_origin(kind) in (types.UnionType, typing.Union) and type(None) in options:
        return next(option for option in options if option is not type(None))
    return kind


def coerce(name: str, value: Any, kind: Any, origin: str) -> Any:
    """``value`` as type ``kind``; YAML's lists become tuples and its whole numbers floats."""
    if value is None and type(None) in typing.get_args(kind):
        return None
    kind = named(kind)
    options = typing.get_args(kind)
    if typing.get_origin(kind) is Literal:
        if isinstance(value, bool):
            value = next((word for word in YAML_WORDS[value] if word in options), value)
        if value in options and type(value) in {type(option) for option in options}:
            return value
        expected = "one of " + ", ".join(map(str, options))
        raise DistvaeError(
            f"{name} is {value!r} in {origin}", expected, nearest(str(value), map(str, options))
        )
    if typing.get_origin(kind) is tuple:
        if isinstance(value, list | tuple):
            return tuple(coerce(name, item, options[0], origin) for item in value)
    elif kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    elif kind is float and isinstance(value, str):  # YAML 1.1 reads 1e-3 as a string
        try:
            return float(value)
        except ValueError:
            pass
    elif type(value) is kind:
        return value
    raise DistvaeError(f"{name} is {value!r} in {origin}", f"expected {_describe(kind)}")


def _describe(kind: Any) -> str:
    if typing.get_origin(kind) is tuple:
        return f"a list of {_describe(typing.get_args(kind)[0])}"
    return {int: "a whole number", float: "a number", bool: "true or false", str: "text"}[kind]
