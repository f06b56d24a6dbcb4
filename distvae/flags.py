"""Words of a command line to a dataclass: each field is a flag, told by its name, type and default.

A field whose type is a dataclass is a group of flags. Its help is the text below it.
"""

import argparse
import dataclasses
import shutil
import sys
import typing
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, NoReturn, TypeVar

from distvae.errors import DistvaeError, shown
from distvae.usage import ALL
from distvae.values import Aliases, Word, expected, named

HELP = ("-h", "--help", ALL)
Positional = object()
"""Part of the type of a field that is given by its place; a tuple takes all words that are left."""
SWITCH = {"on": True, "true": True, "off": False, "false": False, "none": None}
METAVARS = {int: "INT", float: "FLOAT", str: "TEXT"}
WORDS = {int: "a whole number", float: "a number", str: "a text"}
Kind = TypeVar("Kind")


@dataclass(frozen=True)
class Alone:
    """What a flag without a value means: part of the type of its field."""

    value: str


class Form(NamedTuple):
    """How the value of a flag is written."""

    metavar: str
    read: Callable[[str], Any]
    """Raises ValueError where a word is none."""
    expected: str
    options: tuple[str, ...] = ()
    """All words, where there are but a few; of a list those of an item."""
    alone: str | None = None
    """The value that is meant where none is given; None where one is needed."""


class Flag(NamedTuple):
    """A field of a dataclass as a command line has it."""

    field: str
    names: tuple[str, ...]
    """With their hyphens; of a positional one none."""
    default: Any
    form: Form | None
    """None of a switch, which takes no value."""
    several: bool = False
    """Whether it takes all words that are left, each of which has the form."""
    kind: Any = None
    """Of its value, with bounds."""


class Group(NamedTuple):
    """Flags that belong together."""

    field: str
    """Of the whole dataclass, which holds them; empty for its own."""
    holder: Any
    """The dataclass with their defaults."""
    flags: tuple[Flag, ...]


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        names, _, trouble = message.removeprefix("argument ").partition(": ")
        name = names.split("/")[0]
        if trouble.startswith("ignored explicit argument"):
            raise _wrong(self.prog, f"{name} takes no value", "it is on where it is given")
        action = self._option_string_actions[name]
        raise _wrong(self.prog, f"{name} is given no value", f"expected {name} {action.metavar}")


def parse(
    kind: type[Kind], arguments: Sequence[str], prog: str, default: Kind | None = None
) -> Kind:
    """Flags to a dataclass; `256,128` makes a tuple, `--latent_dim` and `--latent-dim` are one.

    Args:
        kind: the dataclass, in which every field has a default.
        arguments: words of the command line.
        prog: the command, for help and errors.
        default: the settings that the flags change; left out: those of ``kind``.

    Raises:
        DistvaeError: unknown flags or wrong values.
        SystemExit: after ``--help``.
    """
    whole: Any = kind() if default is None else default
    groups = list(groups_of(whole))
    if any(word in HELP for word in arguments):
        from distvae.usage import usage

        encoding, width = sys.stdout.encoding, shutil.get_terminal_size().columns
        asked = _asked(arguments, groups)
        sys.stdout.write(f"{usage(prog, kind, groups, width, encoding, asked)}\n")
        raise SystemExit(0)
    found = _found(prog, groups, arguments)
    for group in groups:
        changed = {
            flag.field: found[place]
            for flag in group.flags
            if (place := _place(group, flag)) in found
        }
        holder = dataclasses.replace(group.holder, **changed)
        whole = dataclasses.replace(whole, **{group.field: holder}) if group.field else holder
    result: Kind = whole
    return result


def given(kind: type[Any], arguments: Sequence[str], prog: str) -> dict[str, Any]:
    """The values of the flags that stand on a command line, by field.

    Args:
        kind: the dataclass, in which no two groups have a field of the same name.
        arguments: words of the command line, in which ``--help`` is passed over.
        prog: the command, for errors.

    Raises:
        DistvaeError: unknown flags or wrong values.
    """
    groups = list(groups_of(kind()))
    of_help = {_asked(arguments, groups), *HELP} if set(arguments) & {*HELP} else set()
    words = [word for word in arguments if word not in of_help]
    found = _found(prog, groups, words)
    return {place.rpartition(".")[2]: value for place, value in found.items()}


def _asked(arguments: Sequence[str], groups: Iterable[Group]) -> str:
    """Of which flags help is asked for: all, those of a group, or as it comes."""
    if ALL in arguments:
        return ALL
    number = next(number for number, word in enumerate(arguments) if word in HELP)
    following = arguments[number + 1 : number + 2]
    return next((group.field for group in groups if [group.field] == following), "")


def _found(prog: str, groups: Sequence[Group], arguments: Sequence[str]) -> dict[str, Any]:
    """What stands on a command line, by the place of its flag."""
    parser = _Parser(prog=prog, add_help=False, allow_abbrev=False)
    flags = {_place(group, flag): flag for group in groups for flag in group.flags}
    for place, flag in flags.items():
        _add(parser, flag, place)
    words = list(map(_hyphenated, arguments))
    several = any(flag.several for flag in flags.values())
    read = parser.parse_known_intermixed_args if several else parser.parse_known_args
    found, rest = read(words)
    if rest:
        from distvae.hints import hint

        called = {
            name: flag.form and flag.form.metavar for flag in flags.values() for name in flag.names
        }
        by_place = not all(flag.names for flag in flags.values())
        told = hint(words, rest, called, by_place)
        raise _wrong(prog, f"{' '.join(rest)} is not known", hint=told)
    return {place: _read(prog, flags[place], word) for place, word in vars(found).items()}


def _place(group: Group, flag: Flag) -> str:
    return f"{group.field}.{flag.field}"


def _add(parser: argparse.ArgumentParser, flag: Flag, place: str) -> None:
    """A flag, of which nothing is found where it is left out."""
    nothing: Any = argparse.SUPPRESS
    if flag.form is None:
        switch = argparse.BooleanOptionalAction
        parser.add_argument(*flag.names, action=switch, dest=place, default=nothing)
    elif not flag.names:
        parser.add_argument(place, nargs="*" if flag.several else "?", default=nothing)
    elif flag.form.alone is None:
        told = flag.form.metavar
        parser.add_argument(*flag.names, dest=place, default=nothing, metavar=told)
    else:
        alone = flag.form.alone
        parser.add_argument(*flag.names, dest=place, default=nothing, nargs="?", const=alone)


def _read(prog: str, flag: Flag, word: Any) -> Any:
    """The value of a flag; of a switch it is there already."""
    if flag.form is None:
        return word
    name = flag.names[0] if flag.names else flag.field.upper()
    try:
        if flag.several:
            return tuple(map(flag.form.read, word))
        value = flag.form.read(word)
    except ValueError:
        from distvae.hints import value_meant

        options = flag.form.options
        strange = next((each for each in word.split(",") if options and each not in options), word)
        thing = f"{name} is {shown(word)}" if strange == word else f"{name} has {shown(strange)}"
        hint = value_meant(strange, options)
        raise _wrong(prog, thing, f"expected {flag.form.expected}", hint) from None
    if missed := expected(value, flag.kind):
        raise _wrong(prog, f"{name} is {word}", f"expected {missed}")
    return value


def _wrong(prog: str, thing: str, expected: str = "", hint: str = "") -> DistvaeError:
    return DistvaeError(thing, expected, f"{hint} {prog} --help lists the flags.".strip())


def groups_of(whole: Any) -> Iterator[Group]:
    """The flags of a dataclass by group, its own first."""
    hints = typing.get_type_hints(type(whole), include_extras=True)
    holders = {name: getattr(whole, name) for name, kind in hints.items() if _is_group(kind)}
    own = [(name, kind) for name, kind in hints.items() if name not in holders]
    yield Group("", whole, tuple(_flag(name, kind, getattr(whole, name)) for name, kind in own))
    for field, holder in holders.items():
        inner = typing.get_type_hints(type(holder), include_extras=True).items()
        flags = tuple(_flag(name, kind, getattr(holder, name)) for name, kind in inner)
        yield Group(field, holder, flags)


def _is_group(kind: Any) -> bool:
    return isinstance(kind, type) and dataclasses.is_dataclass(kind)


def _flag(field: str, kind: Any, default: Any) -> Flag:
    marks = getattr(kind, "__metadata__", ())
    other = [name for mark in marks if isinstance(mark, Aliases) for name in mark.names]
    names = () if Positional in marks else (f"--{field.replace('_', '-')}", *other)
    several = Positional in marks and typing.get_origin(bare(kind)) is tuple
    whole, kind = kind, typing.get_args(bare(kind))[0] if several else kind
    form = None if kind is bool else _form(kind)
    alone = next((mark.value for mark in marks if isinstance(mark, Alone)), None)
    form = form._replace(alone=alone) if form and alone else form
    return Flag(field, names, default, form, several, None if several else whole)


def _form(kind: Any) -> Form:
    """How a value of a type is written; None is the word, too."""
    optional = type(None) in typing.get_args(bare(kind))
    kind = named(bare(kind)) if optional else kind
    if bare(kind) is bool:
        return Form(
            "[on|off]", lambda word: _one_of(SWITCH, word.lower()), "on or off", ("on", "off"), "on"
        )
    form = _plain(kind)
    if not optional:
        return form
    return form._replace(read=lambda word: None if word == "None" else form.read(word))


def _plain(kind: Any) -> Form:
    """How a value of a type without None is written."""
    marks = getattr(kind, "__metadata__", ())
    kind = bare(kind)
    word = next((mark for mark in marks if isinstance(mark, Word)), None)
    literal = typing.get_args(kind) if typing.get_origin(kind) is Literal else ()
    if literal := literal or (word.options if word else ()):
        options = {str(option): option for option in literal}
        words, expected = tuple(options), f"one of {', '.join(options)}"
        return Form(f"{{{','.join(words)}}}", lambda word: _one_of(options, word), expected, words)
    if typing.get_origin(kind) is tuple:
        item = _plain(typing.get_args(kind)[0])
        read = item.read
        return Form(
            f"{'NAME' if item.options else item.metavar},...",
            lambda text: tuple(read(word) for word in text.strip("()[]").split(",") if word),
            f"{item.expected}, or several with commas between them",
            item.options,
        )
    return Form(word.metavar if word else METAVARS[kind], kind, WORDS[kind])


def bare(kind: Any) -> Any:
    """A type without the bounds of its values."""
    return kind.__origin__ if hasattr(kind, "__metadata__") else kind


def _one_of(options: dict[str, Any], word: str) -> Any:
    if word not in options:
        raise ValueError
    return options[word]


def _hyphenated(word: str) -> str:
    """`--latent_dim` and `--latent-dim` are one."""
    flag, equals, value = word.partition("=")
    return f"{flag.replace('_', '-')}{equals}{value}" if flag.startswith("--") else word
