"""What a file holds that someone else may have written or damaged: within bounds and as typed.

Every JSON, JSON-lines and YAML file that a command reads comes through here. How a file is bounded
(bytes, depth, number of values, length of texts, finite numbers of at most 64 bits, no NUL, no name
twice) is the same for all; the shape of each is a dataclass where that file is at home.

A JSON file of ours carries a SHA-256 of its content under the key ``sha256``. A file without one,
as other programs and earlier versions wrote it, is read all the same.
"""

import hashlib
import json
import math
import stat
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from distvae.errors import DistvaeError, shown
from distvae.values import coerce

MOST_BYTES = 32_000_000
MOST_LOG, MOST_LINE = 16_000_000_000, 1_000_000
"""Bytes of a JSON-lines file, which is read line by line, and of one of its lines."""
DEEPEST = 32
MOST_VALUES = 1_000_000
LONGEST_TEXT = 100_000
DIGEST = "sha256"
_LARGEST_DIGITS = 19  # of 64 bits
Shape = TypeVar("Shape")


def open_file(path: Path, most: int = MOST_BYTES) -> BinaryIO:
    """Open a regular file of at most so many bytes.

    Raises:
        DistvaeError: it is missing, no file, unreadable or larger.
    """
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):  # a pipe would be waited for, a device has no end
            kind = "a folder" if stat.S_ISDIR(found.st_mode) else "no regular file"
            raise DistvaeError(f"{path} is {kind}", "expected a file")
        if found.st_size > most:
            raise DistvaeError(
                f"{path} is damaged, or no file of ours",
                f"it has {found.st_size:,} bytes, and {most:,} are read at most",
            )
        return path.open("rb")
    except FileNotFoundError as error:
        raise DistvaeError(f"{path} is missing") from error
    except OSError as error:
        raise DistvaeError(f"{path} cannot be read", error.strerror or str(error)) from error


def read_bytes(path: Path, most: int = MOST_BYTES) -> bytes:
    """The content of a file.

    Raises:
        DistvaeError: as :func:`open_file`.
    """
    with open_file(path, most) as file:
        return file.read(most)


def parse_json(text: str | bytes, origin: str) -> Any:
    """JSON within bounds.

    Args:
        text: UTF-8 where it is bytes.
        origin: where it stands, for the message.

    Raises:
        DistvaeError: it is no JSON, or beyond the bounds.
    """
    try:
        content = json.loads(
            text.decode("utf-8") if isinstance(text, bytes) else text,
            object_pairs_hook=_table,
            parse_int=_whole_number,
            parse_float=_number,
            parse_constant=_number,
        )
        check_bounds(content)
    except (ValueError, RecursionError) as error:
        raise DistvaeError(
            f"{origin} is damaged",
            f"expected JSON, found: {error}",
            "Use another copy.",
        ) from error
    return content


def read_json(path: Path) -> Any:
    """Read a JSON file, and compare it with its digest where it has one.

    Returns:
        What it holds, without the digest.

    Raises:
        DistvaeError: it is missing, damaged, or was changed since it was written.
    """
    return verified(parse_json(read_bytes(path), str(path)), str(path))


def read_record(path: Path, kind: type[Shape]) -> Shape:
    """Read a JSON file as a dataclass.

    Raises:
        DistvaeError: as :func:`read_json`, or what it holds is not of these names and types.
    """
    result: Shape = coerce("", read_json(path), kind, str(path))
    return result


def read_lines(path: Path, kind: type[Shape], damaged: list[str]) -> Iterator[tuple[bytes, Shape]]:
    """Every whole line of a JSON-lines file, as it stands and as a dataclass.

    A line that a crash cut short, or that was damaged later, is passed over.

    Args:
        path: the file.
        kind: what a line holds.
        damaged: gets the reason for every line that is passed over.

    Raises:
        DistvaeError: the file is missing, or cannot be read at all.
    """
    with open_file(path, most=MOST_LOG) as file:
        for number, line in enumerate(iter(lambda: file.readline(MOST_LINE), b""), 1):
            try:
                content = parse_json(line, f"line {number}")
                found: Shape = coerce("", content, kind, f"line {number}")
            except DistvaeError as error:
                damaged.append(f"{error.thing}: {error.expected}")
            else:
                yield line, found


def digest_of(content: Mapping[str, Any]) -> str:
    """SHA-256 of a JSON object, however it is laid out and ordered."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def signed(content: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON object with its digest."""
    return {**content, DIGEST: digest_of(content)}


def verified(content: Any, origin: str) -> Any:
    """What was read, without its digest.

    Raises:
        DistvaeError: the digest is that of something else.
    """
    if not isinstance(content, dict) or DIGEST not in content:
        return content
    plain = {name: value for name, value in content.items() if name != DIGEST}
    if content[DIGEST] != digest_of(plain):
        raise DistvaeError(
            f"{origin} is damaged, or was edited",
            f"it is not what its {DIGEST} was made of",
            f"Use another copy; or, if you changed it on purpose, delete its line {DIGEST}.",
        )
    return plain


def check_bounds(content: Any) -> None:
    """Refuse what is too deep, too much, or cannot be written again; what is shared counts anew.

    Raises:
        ValueError: it says what is wrong.
    """
    count, waiting = 0, [(content, 0)]
    while waiting:
        value, depth = waiting.pop()
        count += 1
        if depth > DEEPEST:
            raise ValueError(f"values nested more than {DEEPEST} deep")
        if count > MOST_VALUES:
            raise ValueError(f"more than {MOST_VALUES:,} values")
        if isinstance(value, str):
            _check_text(value)
        elif isinstance(value, dict):
            waiting += [(item, depth + 1) for pair in value.items() for item in pair]
        elif isinstance(value, list):
            waiting += [(item, depth + 1) for item in value]


def _check_text(text: str) -> None:
    if len(text) > LONGEST_TEXT:
        raise ValueError(f"a text of {len(text):,} characters, {LONGEST_TEXT:,} at most")
    if "\0" in text:
        raise ValueError(f"a NUL in {shown(text)}")
    if not text.isascii():
        text.encode()  # half a surrogate pair is no text


def _table(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        (twice, _), *_ = Counter(name for name, _ in pairs).most_common(1)
        raise ValueError(f"{shown(twice)} twice")
    return table


def _whole_number(text: str) -> int:
    if len(text.lstrip("-")) > _LARGEST_DIGITS or not -(2**63) <= int(text) < 2**63:
        raise ValueError(f"a whole number of more than 64 bits, {shown(text)}")
    return int(text)


def _number(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{shown(text)}, which is no finite number")
    return number
