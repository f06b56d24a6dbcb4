"""What a compressed file may unpack to, known before any of it is."""

from collections.abc import Mapping

from distvae.memory import memory

LARGE = 2**26
"""Bytes from which on it is looked at."""
RATIO = 1000
"""Deflate reaches it with one value over and over; images of 64 KB with one byte each do not."""


def check_unpacked(sizes: Mapping[str, tuple[int, int]]) -> None:
    """Refuse what is no data, or would not fit into memory.

    Args:
        sizes: bytes, unpacked and packed, by what they are called.

    Raises:
        ValueError: something unpacks to more than a thousand times its size, so that it holds one
            value over and over.
        MemoryError: all together is more than this machine has.
    """
    for what, (size, packed) in sizes.items():
        if size > LARGE and size > RATIO * packed:
            raise ValueError(
                f"{what} would unpack from {packed:,} to {size:,} bytes, and so holds little but "
                "one value over and over"
            )
    needed = sum(size for size, _ in sizes.values())
    there = memory()
    if there is not None and needed > there:
        raise MemoryError(
            f"it unpacks to {needed / 1e9:.1f} GB and this machine has {there / 1e9:.1f}; "
            ".npy files are read where they lie"
        )
