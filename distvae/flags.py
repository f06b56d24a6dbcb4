"""Words of a command line to a flat dataclass, with tyro and, plainly, without.

Sampling from an ONNX file needs numpy, onnxruntime and pillow only. Where tyro is not installed,
argparse reads the same flags of the same dataclass.
"""

import argparse
import ast
import dataclasses
import inspect
import types
import typing
from typing import TYPE_CHECKING, Any, NoReturn

from distvae.errors import DistvaeError
from distvae.packages import is_installed

if TYPE_CHECKING or is_installed("tyro"):
    from tyro.conf import Positional as Positional
    from tyro.conf import arg as arg
else:
    Positional = "positional"

    def arg(aliases: list[str]) -> Any:
        """Other names of a flag."""
        return types.SimpleNamespace(aliases=aliases)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise DistvaeError(f"{self.prog}: {message}", "", f"{self.prog} --help lists the flags.")


def parse_plainly(kind: Any, arguments: list[str], prog: str) -> Any:
    """Flags to a dataclass of texts, numbers and choices, by argparse.

    Args:
        kind: the dataclass; what stands under a field is its help.
        arguments: words of the command line.
        prog: the command, for help and errors.

    Raises:
        DistvaeError: unknown flags or wrong values.
        SystemExit: after ``--help``.
    """
    parser = _Parser(prog=prog, description=inspect.getdoc(kind), allow_abbrev=False)
    helps, hints = _helps(kind), typing.get_type_hints(kind, include_extras=True)
    for field in dataclasses.fields(kind):
        hint = hints[field.name]
        marks = getattr(hint, "__metadata__", ())
        base = typing.get_args(hint)[0] if marks else hint
        shared = {**_value(base), "default": field.default, "help": helps[field.name]}
        if Positional in marks:
            parser.add_argument(field.name, nargs="?", **shared)
        else:
            aliases = [name for mark in marks for name in getattr(mark, "aliases", None) or ()]
            parser.add_argument(f"--{field.name.replace('_', '-')}", *aliases, **shared)
    return kind(**vars(parser.parse_args(_hyphenated(arguments))))


def _value(kind: Any) -> dict[str, Any]:
    """How argparse reads a value of a type."""
    options = typing.get_args(kind)
    if typing.get_origin(kind) is typing.Literal:
        return {"choices": options}
    if isinstance(kind, types.UnionType):
        kind = next(option for option in options if option is not type(None))
    return {"type": kind, "metavar": kind.__name__.upper()}


def _helps(kind: Any) -> dict[str, str]:
    """The text under each field of a dataclass, by name."""
    (node,) = ast.parse(inspect.getsource(kind)).body
    assert isinstance(node, ast.ClassDef)
    result = {}
    for field, text in zip(node.body, node.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr):
            name = ast.unparse(field.target)
            result[name] = str(ast.literal_eval(text.value)).replace("%", "%%")
    return result


def _hyphenated(arguments: list[str]) -> list[str]:
    """`--latent_dim` and `--latent-dim` are one."""
    words = []
    for word in arguments:
        flag, equals, value = word.partition("=")
        words.append(f"{flag.replace('_', '-')}{equals}{value}" if flag.startswith("--") else word)
    return words
