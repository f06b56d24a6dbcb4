"""The help of a command, as it is printed: its flags in boxes."""

import ast
import dataclasses
import inspect
import itertools
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from distvae.flags import Flag, Group

ALL = "--help-all"
LEFT, NARROWEST, WIDEST = 24, 40, 120
"""Most characters of a flag that has its help beside it; of a line at least and at most."""
LESS = 0.4
"""Of a line is for a flag at most, where that is less."""
WHOLE = "\u00a0"
"""Between words that stay on one line."""
ROUND, PLAIN = "╭╮╰╯─│", "++++-|"
HELP = ("-h, --help", "Show this help and exit.")
Row = tuple[str, str]
"""A flag, and what it does."""


class Box(NamedTuple):
    """Flags that are told together."""

    title: str
    about: str
    rows: list[Row]


def usage(
    prog: str,
    kind: Any,
    groups: Sequence["Group"],
    width: int,
    encoding: str | None,
    asked: str = "",
) -> str:
    """The help of a command.

    Args:
        prog: the command.
        kind: the dataclass of its flags; its docstring says what the command does. It may have
            ``EXAMPLES``, command lines, and ``COMMON``, fields that most people set: they are told
            alone, in a line each, unless more is asked for.
        groups: of its flags.
        width: characters of a line.
        encoding: of what it is printed to; boxes are of other signs where it lacks theirs.
        asked: ``--help-all``, or the field of a group of which alone is told.
    """
    common = getattr(kind, "COMMON", ())
    short = bool(common) and not asked
    groups = [group for group in groups if asked in ("", ALL, group.field)]
    width = line_width(width)
    boxes = [_first(common, groups, width)] if short else list(_boxes(groups))
    rows = [row for box in boxes for row in box.rows]
    left = _left((flag for flag, _ in rows), width)
    by_place = (flag for flag, _ in rows if flag.startswith("["))
    line = " ".join(["usage:", prog, "[-h]", "[OPTIONS]", *by_place])
    line = textwrap.fill(line, width, subsequent_indent="  ", break_on_hyphens=False)
    about = [
        textwrap.fill(part, width, break_on_hyphens=False)
        for part in (inspect.getdoc(kind) or "").split("\n\n")
    ]
    if examples := getattr(kind, "EXAMPLES", ()):
        about.append("\n".join(_example(example, width) for example in examples))
    signs = ROUND if _can_show(ROUND, encoding) else PLAIN
    drawn = [each for box in boxes for each in _drawn(box, left, width, signs)]
    if short:
        names = "|".join(group.field for group in groups if group.field)
        drawn += [
            textwrap.fill(f"{prog} {ALL}: every flag, in full", width, break_on_hyphens=False),
            textwrap.fill(f"{prog} --help {names}: those of one kind", width),
        ]
    return "\n\n".join([line, *about, "\n".join(drawn)])


def line_width(columns: int) -> int:
    """Characters of a line of help on a terminal of so many columns."""
    return max(NARROWEST, min(columns, WIDEST))


def listed(told: Mapping[str, str], width: int) -> str:
    """Names, and beside or below each what it is."""
    left = _left(told, width)
    lines: list[str] = []
    for name, about in told.items():
        room = width - left - 4
        parts = textwrap.wrap(about, room, break_on_hyphens=False)
        lines += [f"  {name:<{left}}  {parts.pop(0)}"] if len(name) <= left else [f"  {name}"]
        lines += [f"{'':<{left + 4}}{part}" for part in parts]
    return "".join(f"{line}\n" for line in lines)


def _left(names: Iterable[str], width: int) -> int:
    """Characters that names have which stand beside what they are."""
    most = min(LEFT, int(LESS * width))
    return max((len(name) for name in names if len(name) <= most), default=most)


def _example(command: str, width: int) -> str:
    """A command line, which goes on after a backslash where it is too long, or a remark.

    A flag stays with its value.
    """
    remark = command.startswith("# ")
    on, next_line = ("", "  # ") if remark else (" \\", "    ")
    parts = textwrap.wrap(
        re.sub(r"(--[a-z-]+) (?!-)", f"\\1{WHOLE}", f"  {command}"),
        width - len(on),
        subsequent_indent=next_line,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return f"{on}\n".join(parts).replace(WHOLE, " ")


def _first(common: Sequence[str], groups: Iterable["Group"], width: int) -> Box:
    """What most people set, a line each."""
    rows: dict[str, Row] = {}
    for group in groups:
        helps = helps_of(type(group.holder))
        rows |= {flag.field: _brief(flag, helps[flag.field]) for flag in group.flags}
    found = [rows[field] for field in common]
    room = width - 6 - _left((flag for flag, _ in found), width)
    brief = [(flag, textwrap.shorten(it, room, placeholder=" …")) for flag, it in found]
    return Box("what most people set", "", brief)


def _brief(flag: "Flag", text: str) -> Row:
    """A flag with its choices, else with the first clause of its help."""
    if flag.form is not None and flag.form.options:
        return f"{flag.names[0]} NAME", f"One of {', '.join(flag.form.options)}"
    names, _ = _row(flag, {flag.field: ""})
    return names, first_clause(text)


def first_clause(text: str) -> str:
    """What a help begins with."""
    return re.split(r"[;:.]\s| \(|\.$", text, maxsplit=1)[0]


def _boxes(groups: Iterable["Group"]) -> Iterator[Box]:
    """What is told of each group; what is given by its place stands first."""
    for group in groups:
        helps = helps_of(type(group.holder))
        by_place = [_row(flag, helps) for flag in group.flags if not flag.names]
        rows = [_row(flag, helps) for flag in group.flags if flag.names]
        if by_place:
            yield Box("positional arguments", "", by_place)
        if group.field:
            yield Box(f"{group.field} options", inspect.getdoc(type(group.holder)) or "", rows)
        else:
            yield Box("options", "", [HELP, *rows])


def _row(flag: "Flag", helps: dict[str, str]) -> Row:
    value = f" {flag.form.metavar}" if flag.form is not None else ""
    names = (
        ", ".join(f"{name}{value}" for name in flag.names)
        or f"[{flag.field.upper()}{' ...' if flag.several else ''}]"
    )
    if flag.form is None and flag.default is True:
        names = names.replace("--", "--no-", 1)
    if flag.default in (None, False, (), ""):
        return names, helps[flag.field]
    return names, f"{helps[flag.field]} (default: {_written(flag.default)})"


def _written(default: Any) -> str:
    if isinstance(default, tuple):
        default = ",".join(map(str, default))
    return str(default)


def helps_of(kind: Any) -> dict[str, str]:
    """What each field of a dataclass is for: the text below it, or what its metadata say."""
    (statement,) = ast.parse(inspect.getsource(kind)).body
    assert isinstance(statement, ast.ClassDef)
    found = {}
    for above, below in zip(statement.body, statement.body[1:], strict=False):
        if isinstance(above, ast.AnnAssign) and isinstance(below, ast.Expr):
            found[ast.unparse(above.target)] = str(ast.literal_eval(below.value))
    fields = dataclasses.fields(kind)
    told = {each.name: each.metadata["help"] for each in fields if "help" in each.metadata}
    return {**found, **told}


def _drawn(box: Box, left: int, width: int, signs: str) -> Iterator[str]:
    """The lines of a box; a flag that is too long has its help below it."""
    *corners, across, side = list(signs)
    inside = width - 4

    def line(text: str) -> str:
        return f"{side} {text:<{inside}} {side}"

    yield f"{corners[0]}{across} {box.title} ".ljust(width - 1, across) + corners[1]
    if box.about:
        for paragraph in box.about.split("\n\n"):
            yield from map(line, textwrap.wrap(paragraph, inside, break_on_hyphens=False))
        yield line(across * inside)
    for flag, told in box.rows:
        room = inside - left - 2
        parts = [textwrap.wrap(part, room, break_on_hyphens=False) for part in told.splitlines()]
        text = list(itertools.chain.from_iterable(parts))
        if len(flag) > left:
            yield from map(line, textwrap.wrap(flag, inside, break_on_hyphens=False))
            flag = ""
        else:
            yield line(f"{flag:<{left}}  {text.pop(0)}")
        yield from (line(f"{'':<{left}}  {each}") for each in text)
    yield corners[2] + across * (width - 2) + corners[3]


def _can_show(signs: str, encoding: str | None) -> bool:
    try:
        signs.encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
