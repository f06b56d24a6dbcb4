"""Arrays of a store, read as memory maps."""

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distvae.reading import open_file

LARGEST = 2**50
"""Bytes of an array."""
LONGEST_HEADER = 1024
FIXED_HEADER = 128
"""Bytes of the header of a file whose length is known at its end."""
_NPY = re.compile(
    rb"\x93NUMPY\x01\x00..\{'descr': '([<>][iuf][248]|\|[iub]1)', 'fortran_order': False, "
    rb"'shape': \((\d{1,18}(?:, \d{1,18})*,?)\), \} *\n",
    re.DOTALL,
)


def mapped(path: Path) -> NDArray[Any]:
    """An array as decoding writes it, a read-only memory map.

    numpy reads more than that: a header is any Python literal, and a pipe is waited for.

    Raises:
        ValueError: it is no such array, or not as long as its header says.
    """
    with open_file(path, LARGEST) as file:
        found = _NPY.match(file.read(LONGEST_HEADER))
    if found is None:
        raise ValueError(f"{path.name} does not begin as an array of ours")
    kind, shape = np.dtype(found[1].decode()), tuple(map(int, found[2].rstrip(b",").split(b",")))
    if path.stat().st_size != found.end() + math.prod(shape) * kind.itemsize:
        raise ValueError(f"{path.name} is not as long as it says")
    return np.memmap(path, kind, "r", found.end(), shape)


def header(kind: str, shape: tuple[int, ...]) -> bytes:
    """How the file of an array begins, in as many bytes whatever its shape.

    Args:
        kind: as numpy writes it, such as ``|u1``.
        shape: of the array, of several axes.
    """
    told = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}"
    length = FIXED_HEADER - 10
    beginning = b"\x93NUMPY\x01\x00" + length.to_bytes(2, "little")
    return beginning + told.ljust(length - 1).encode() + b"\n"
