"""Words of others, made safe for where they go: a terminal, a page of Markdown, the name of a file.

Label names, file names and messages may hold anything. One function for each medium says how they
stand there, and whatever is shown or written goes through it. The standard library is enough.
"""

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any

LONGEST = 64
"""Characters of a file's name that come from a label, before what tells it from others."""
DIGITS = 12
"""Of the digest in a file's name, hexadecimal."""
_HIDDEN = ("Cc", "Cf", "Cs", "Zl", "Zp")
"""Control and format characters (among them those that turn the direction), surrogates, breaks."""
_JOINERS = "\u200c\u200d"
"""Format characters that belong to words and emoji, and do nothing else."""
_MARKDOWN = {
    **{ord(sign): f"\\{sign}" for sign in "\\`*[]|~$#"},
    **{ord(sign): f"&#{ord(sign)};" for sign in "<>&@"},
}
_UNDERSCORE = re.compile(r"(?<![^\W_])_|_(?![^\W_])")
"""One that is not within a word, where it is no markup."""
_LINKS = (("://", "&#58;//"), ("www.", "www&#46;"))
_RESERVED = {
    *("con", "prn", "aux", "nul", "conin$", "conout$"),
    *(f"{port}{number}" for port in ("com", "lpt") for number in "0123456789¹²³"),
}
"""Names that Windows keeps for devices, whatever their ending."""
_PLAIN = "_-+,.= "
"""Signs that stand in the name of a file as they are."""


def printable(text: str) -> str:
    r"""A text for a terminal: one line, what it would not show as an escape.

    >>> printable("tulip\x1b[2J\nerror: none")
    'tulip\\x1b[2J\\nerror: none'
    """
    if text.isprintable():
        return text
    return "".join(
        sign.encode("unicode_escape").decode("ascii") if _is_hidden(sign) else sign for sign in text
    )


def shortened(text: str, most: int = 60) -> str:
    """A text of at most so many characters, the last of them dots where it is cut."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def markdown(text: str) -> str:
    r"""A text for a page of Markdown, in which it means nothing but itself.

    It stands on one line, in a heading, a list or the cell of a table. What would be markup, HTML,
    a link or a formula is shown as it was written.

    >>> markdown("<b>*tulip*</b>|")
    '&#60;b&#62;\\*tulip\\*&#60;/b&#62;\\|'
    """
    shown = _UNDERSCORE.sub(r"\\_", printable(text).translate(_MARKDOWN))
    for sign, escaped in _LINKS:
        shown = shown.replace(sign, escaped)
    return shown


def is_right(cells: Iterable[str]) -> bool:
    """Whether a column stands at the right: its cells begin with digits, or are empty."""
    return all(not cell or cell.lstrip("+-<= ")[:1].isdigit() for cell in cells)


def markdown_table(headings: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A table in Markdown, columns of numbers to the right and all others to the left."""
    columns = [[line[number] for line in lines] for number in range(len(headings))]
    right = [number > 0 and is_right(column) for number, column in enumerate(columns)]
    ruler = ["---:" if each else "---" for each in right]
    rows = [[markdown(cell.strip()) for cell in line] for line in (headings, *lines)]
    return "".join(f"| {' | '.join(row)} |\n" for row in (rows[0], ruler, *rows[1:]))


def file_name(label: str) -> str:
    """A name of a file for a label: the same one always, and another one for every other label.

    It is one part of a path on every system: no separator, no control character, no name that
    Windows keeps for itself, at most ``LONGEST`` characters and a digest. A label of lower-case
    letters, digits and a few signs is its own name. Any other is written with ``_`` for what does
    not fit and ends in a digest of the label, so that labels which differ only in case or in the
    form of their Unicode stay apart where the file system takes these for one.

    >>> file_name("tulip")
    'tulip'
    >>> file_name("../Tulip")
    'Tulip-1f5c60404b9c'
    """
    if _is_plain(label):
        return label
    digest = hashlib.sha256(label.encode("utf-8", "surrogatepass")).hexdigest()[:DIGITS]
    head = unicodedata.normalize("NFC", label[:LONGEST])
    kept = "".join(sign if sign != "." and _is_of_a_name(sign) else "_" for sign in head).strip(
        " _-"
    )
    while len(kept.encode()) > 2 * LONGEST:
        kept = kept[:-1]
    return f"{kept or 'label'}-{digest}"


def _is_hidden(sign: str) -> bool:
    return unicodedata.category(sign) in _HIDDEN and sign not in _JOINERS


def _is_of_a_name(sign: str) -> bool:
    """Whether a sign may stand in the name of a file: letters, marks, numbers, a few others."""
    return sign in _PLAIN or unicodedata.category(sign)[0] in "LMN"


def _is_plain(label: str) -> bool:
    """Whether a label is the name of a file as it is, on every system, and of no other label."""
    if not 0 < len(label) <= LONGEST or label.strip(" .") != label or label[0] == "-":
        return False
    if not all(map(_is_of_a_name, label)) or len(label.encode()) > 2 * LONGEST:
        return False
    bare = unicodedata.normalize("NFD", label)
    folded = unicodedata.normalize("NFC", bare.upper().casefold())
    tail = label.rpartition("-")[2]
    digest = len(tail) == DIGITS and set(tail) <= set("0123456789abcdef")  # or as another would be
    return folded == label and label.partition(".")[0].strip() not in _RESERVED and not digest


def counted(number: int, what: str) -> str:
    """A number of things whose plural is given: ``1 row``, ``2,000 rows``."""
    return f"{number:,} {one_of(what) if number == 1 else what}"


def one_of(what: str) -> str:
    """The singular of a plural.

    >>> one_of("images"), one_of("test patches")
    ('image', 'test patch')
    """
    return re.sub(r"(?<=ch)es$|s$", "", what)


def rounded(number: float) -> str:
    """A number for people, with two decimals at most.

    >>> rounded(0.641026), rounded(16.0), rounded(1234.5)
    ('0.64', '16', '1,234.5')
    """
    return f"{number:,.2f}".rstrip("0").rstrip(".")


def some(values: Iterable[Any] | None, most: int = 8) -> str:
    """The first few of many values, for a message."""
    shown = list(map(str, values if values is not None else ["numbers or text without names"]))
    return ", ".join(shown[:most]) + (f", ... ({len(shown)})" if len(shown) > most else "")


def in_list(label: str) -> str:
    """How a label is written in a list.

    >>> in_list("a,b")
    '"a,b"'
    """
    if re.search(r'[",=-]', label) or label.strip() != label:
        doubled = label.replace('"', '""')
        return f'"{doubled}"'
    return label
