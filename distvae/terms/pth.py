"""Weights in a file of torch's first format, read without unpickling: nothing of it is ever run.

The file is five pickles and then the raw numbers. A pickle is a list of instructions, which are
taken apart by the standard library's ``pickletools`` and followed here as far as a table of tensors
needs them. Whatever else a file asks for is refused.
"""

import math
import pickletools
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from distvae.errors import DistvaeError
from distvae.reading import open_file

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
LARGEST = 2**32
"""Bytes of a file."""
MOST = 10**6
"""Instructions of a pickle."""
KINDS = {
    "torch FloatStorage": "<f4",
    "torch DoubleStorage": "<f8",
    "torch HalfStorage": "<f2",
    "torch LongStorage": "<i8",
    "torch IntStorage": "<i4",
    "torch ByteStorage": "|u1",
}
"""Kinds of numbers, as numpy writes them."""
TABLE, TENSOR = "collections OrderedDict", "torch._utils _rebuild_tensor_v2"
_WORDS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}


class _Name(NamedTuple):
    """What a pickle calls by name, and which is never looked up."""

    name: str


class _Storage(NamedTuple):
    """Numbers that come at the end of the file."""

    key: str
    kind: str
    size: int


class _Tensor(NamedTuple):
    """Which of the numbers a tensor has."""

    storage: _Storage
    start: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    """In numbers."""


class _Mark:
    """Where the items of a group begin."""


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a file, by name.

    Raises:
        DistvaeError: it is none, is damaged, or asks for anything but tensors.
    """
    try:
        with open_file(path, LARGEST) as file:
            return _read(file)
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise DistvaeError(
            f"{path} cannot be read as weights",
            f"it holds something else than tensors: {error}",
            "Install the package anew, or leave --perceptual out.",
        ) from error


def _read(file: BinaryIO) -> dict[str, Tensor]:
    content = BytesIO(file.read())  # instructions are told their place in it
    if _followed(content) != MAGIC or _followed(content) != PROTOCOL:
        raise ValueError("it does not begin as such a file")
    _followed(content)  # sizes of C's numbers
    table, keys = _followed(content), _followed(content)
    if not isinstance(table, dict) or not isinstance(keys, list):
        raise ValueError("no table of tensors")
    wanted = {each.storage.key: each.storage for each in table.values()}
    numbers = {}
    for key in keys:
        storage = wanted[key]
        if int.from_bytes(content.read(8), "little") != storage.size:
            raise ValueError(f"as many numbers as it says of {key}")
        kind = np.dtype(storage.kind)
        raw = content.read(storage.size * kind.itemsize)
        numbers[key] = np.frombuffer(raw, kind, storage.size)
    return {name: _tensor(each, numbers[each.storage.key]) for name, each in table.items()}


def _tensor(found: _Tensor, numbers: Any) -> Tensor:
    return (
        torch.from_numpy(numbers.copy()).as_strided(found.shape, found.strides, found.start).clone()
    )


def _followed(content: BytesIO) -> Any:
    """What the next pickle describes."""
    stack: list[Any] = []
    memory: dict[int, Any] = {}
    for count, (instruction, found, _) in enumerate(pickletools.genops(content)):
        name, given = instruction.name, cast("Any", found)
        if count > MOST:
            raise ValueError("more instructions than a table of tensors has")
        if name == "STOP":
            return stack.pop()
        if name in ("BINPUT", "LONG_BINPUT"):
            memory[given] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(memory[given])
        elif name in _WORDS:
            stack.append(_WORDS[name])
        elif name in ("BINUNICODE", "BININT", "BININT1", "BININT2", "LONG1"):
            stack.append(given)
        elif name == "GLOBAL":
            if given not in (TABLE, TENSOR, *KINDS):
                raise ValueError(f"it asks for {given}")
            stack.append(_Name(given))
        elif name in _STEPS:
            _STEPS[name](stack)
        elif name != "PROTO":
            raise ValueError(f"it has the instruction {name}")
    raise ValueError("it ends too early")


def _group(stack: list[Any]) -> list[Any]:
    """The items since the last mark, which are taken off."""
    items = []
    while not isinstance(stack[-1], _Mark):
        items.append(stack.pop())
    stack.pop()
    return items[::-1]


def _last(count: int) -> Callable[[list[Any]], None]:
    """Makes a tuple of the last few."""

    def step(stack: list[Any]) -> None:
        start = len(stack) - count
        items = tuple(stack[start:])
        del stack[start:]
        stack.append(items)

    return step


def _called(stack: list[Any]) -> None:
    """What is called by name: a table, or a tensor."""
    given, called = stack.pop(), stack.pop()
    if called == _Name(TABLE) and given == ():
        stack.append({})
        return
    if called != _Name(TENSOR):
        raise ValueError(f"it calls {called}")
    storage, start, shape, strides, *_ = given
    if not isinstance(storage, _Storage) or len(shape) != len(strides):
        raise ValueError("a tensor without numbers")
    last = start + sum((side - 1) * stride for side, stride in zip(shape, strides, strict=True))
    if min((start, *shape, *strides), default=0) < 0 or math.prod(shape) > storage.size:
        raise ValueError("a tensor of more numbers than there are")
    if math.prod(shape) and last >= storage.size:
        raise ValueError("a tensor beyond its numbers")
    stack.append(_Tensor(storage, start, tuple(shape), tuple(strides)))


def _stored(stack: list[Any]) -> None:
    word, kind, key, _place, count, view = stack.pop()
    if word != "storage" or view is not None or not 0 <= count < LARGEST:
        raise ValueError("numbers of another kind")
    stack.append(_Storage(str(key), KINDS[kind.name], int(count)))


def _set_group(stack: list[Any]) -> None:
    items = _group(stack)
    stack[-1].update(zip(items[::2], items[1::2], strict=True))


def _set_one(stack: list[Any]) -> None:
    value, key = stack.pop(), stack.pop()
    stack[-1][key] = value


def _append_group(stack: list[Any]) -> None:
    items = _group(stack)
    stack[-1].extend(items)


_STEPS: dict[str, Callable[[list[Any]], None]] = {
    "MARK": lambda stack: stack.append(_Mark()),
    "TUPLE": lambda stack: stack.append(tuple(_group(stack))),
    "TUPLE1": _last(1),
    "TUPLE2": _last(2),
    "TUPLE3": _last(3),
    "EMPTY_TUPLE": lambda stack: stack.append(()),
    "EMPTY_DICT": lambda stack: stack.append({}),
    "EMPTY_LIST": lambda stack: stack.append([]),
    "SETITEM": _set_one,
    "SETITEMS": _set_group,
    "APPENDS": _append_group,
    "BINPERSID": _stored,
    "REDUCE": _called,
    "BUILD": lambda stack: stack.pop(),  # notes on versions of layers
}
"""What each instruction does with the items that are at hand."""
