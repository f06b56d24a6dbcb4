"""What stands in an ONNX file beside its numbers, read without onnx and without running it.

An ONNX file is a protocol buffer: fields of a number and a payload, some of which are messages of
fields in turn. Only the messages that lead to metadata or to the location of a tensor are entered,
so a file of gigabytes is told in milliseconds. Nothing but the Python standard library is needed.
"""

import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from distvae.errors import DistvaeError

_METADATA = 14
_MESSAGES: dict[str, dict[int, str]] = {
    "model": {7: "graph", _METADATA: "metadata", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "external"},
}
"""Which field of which message is a message that leads to what is looked for (onnx.proto)."""
_VARINT, _EIGHT_BYTES, _LENGTH, _FOUR_BYTES = 0, 1, 2, 5
_DEEPEST = 100  # as protobuf itself


@dataclass(frozen=True)
class Outline:
    """What :func:`read_outline` finds."""

    metadata: dict[str, str]
    """The file's own words about itself."""
    locations: tuple[str, ...]
    """Names of the files beside this one in which tensors lie."""


def read_outline(path: Path) -> Outline:
    """The metadata of an ONNX file and where its tensors lie.

    Raises:
        DistvaeError: there is no such file, or it is not a whole ONNX file.
    """
    if not path.is_file():
        raise DistvaeError(
            f"{path} is {'a folder' if path.is_dir() else 'missing'}",
            "expected an ONNX file",
            "Make one: distvae export --onnx",
        )
    metadata, locations = {}, []
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            if not any(number == 7 for number, *_ in _fields(data, 0, len(data))):
                raise ValueError("it has no graph")
            for kind, key, value in _entries(data, 0, len(data), "model", 0):
                if kind == "metadata":
                    metadata[key] = value
                elif key == "location":
                    locations.append(value)
    except (ValueError, IndexError) as error:
        raise DistvaeError(
            f"{path} is damaged, or no ONNX file",
            f"it cannot be read as one ({error})",
            "Take another copy, or export the run again.",
        ) from error
    return Outline(metadata, tuple(dict.fromkeys(locations)))


def metadata_entry(key: str, value: str) -> bytes:
    """An entry of a file's metadata as bytes; at the end of an ONNX file they add it."""
    parts = [word.encode() for word in (key, value)]
    entry = b"".join(
        bytes([number << 3 | _LENGTH]) + _of_length(part) for number, part in enumerate(parts, 1)
    )
    return bytes([_METADATA << 3 | _LENGTH]) + _of_length(entry)


def _of_length(content: bytes) -> bytes:
    """Content after its own length, seven bits in a byte."""
    length, words = len(content), bytearray()
    while length > 0x7F:
        words.append(length & 0x7F | 0x80)
        length >>= 7
    return bytes([*words, length]) + content


def _entries(
    data: mmap.mmap, start: int, end: int, kind: str, depth: int
) -> Iterator[tuple[str, str, str]]:
    """Key and value of every entry of metadata or of a tensor's location, and which it is."""
    if depth > _DEEPEST:
        raise ValueError("it is nested too deep")
    inner = _MESSAGES.get(kind)
    if inner is None:  # an entry itself: field 1 is its key and field 2 its value
        words = {number: data[first:last] for number, first, last in _fields(data, start, end)}
        yield kind, words.get(1, b"").decode(), words.get(2, b"").decode()
        return
    for number, first, last in _fields(data, start, end):
        if number in inner:
            yield from _entries(data, first, last, inner[number], depth + 1)


def _fields(data: mmap.mmap, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Number of every field of a message and where its payload begins and ends."""
    while start < end:
        tag, start = _varint(data, start)
        wire = tag & 7
        first = start
        if wire == _VARINT:
            _, start = _varint(data, start)
        elif wire == _EIGHT_BYTES:
            start += 8
        elif wire == _FOUR_BYTES:
            start += 4
        elif wire == _LENGTH:
            length, first = _varint(data, start)
            start = first + length
        else:
            raise ValueError("it holds no protocol buffer")
        if start > end:
            raise ValueError("it is cut short")
        yield tag >> 3, first, start


def _varint(data: mmap.mmap, position: int) -> tuple[int, int]:
    """A whole number of any length, and where it ends."""
    value = shift = 0
    while True:
        byte = data[position]
        value |= (byte & 0x7F) << shift
        shift += 7
        position += 1
        if byte < 0x80:
            return value, position
        if shift > 63:
            raise ValueError("it holds no protocol buffer")
