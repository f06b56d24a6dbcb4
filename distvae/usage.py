"""The help of a command, as it is printed: its flags in boxes."""

import ast
import dataclasses
import inspect
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from distvae.flags import Flag, Group

LEFT, NARROWEST, WIDEST = 24, 60, 120
"""Most characters of a flag that has its help beside it; of a line at least and at most."""
ROUND, PLAIN = "╭╮╰╯─│", "++++-|"
HELP = ("-h, --help", "show this help message and exit")
Row = tuple[str, str]
"""A flag, and what it does."""


class Box(NamedTuple):
    """Flags that are told together."""

    title: str
    about: str
    rows: list[Row]


def usage(prog: str, kind: Any, groups: Sequence["Group"], width: int, encoding: str | None) -> str:
    """The help of a command.

    Args:
        prog: the command.
        kind: the dataclass of its flags; its docstring says what the command does.
        groups: of its flags.
        width: characters of a line.
        encoding: of what it is printed to; boxes are of other signs where it lacks theirs.
    """
    width = max(NARROWEST, min(width, WIDEST))
    boxes = list(_boxes(groups))
    rows = [row for box in boxes for row in box.rows]
    left = max(len(flag) for flag, _ in rows if len(flag) <= LEFT)
    by_place = (flag for flag, _ in rows if flag.startswith("["))
    line = " ".join(["usage:", prog, "[-h]", "[OPTIONS]", *by_place])
    about = [textwrap.fill(part, width) for part in (inspect.getdoc(kind) or "").split("\n\n")]
    signs = ROUND if _can_show(ROUND, encoding) else PLAIN
    drawn = (each for box in boxes for each in _drawn(box, left, width, signs))
    return "\n\n".join([line, *about, "\n".join(drawn)])


def _boxes(groups: Iterable["Group"]) -> Iterator[Box]:
    """What is told of each group; what is given by its place stands first."""
    for group in groups:
        helps = _helps(type(group.holder))
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
    names = ", ".join(f"{name}{value}" for name in flag.names) or f"[{flag.field.upper()}]"
    if flag.form is None and flag.default is True:
        names = names.replace("--", "--no-", 1)
    told = helps[flag.field]
    if flag.default is None and "left out" in told.lower():
        return names, told
    return names, f"{told} (default: {_written(flag.default)})"


def _written(default: Any) -> str:
    if isinstance(default, tuple):
        default = ",".join(map(str, default))
    return "''" if default == "" else str(default)


def _helps(kind: Any) -> dict[str, str]:
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
            yield from map(line, textwrap.wrap(paragraph, inside))
        yield line(across * inside)
    for flag, told in box.rows:
        text = textwrap.wrap(told, inside - left - 2, break_on_hyphens=False)
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
