"""Rows of numbers become a field of the store as they are."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distvae.config import DataConfig
from distvae.data.identity import Progress
from distvae.data.sources import RawSplit
from distvae.data.writing import Written, check_space, write_fields, write_numbers
from distvae.fields import VALUES, values_field


def write_vectors(
    folder: Path, splits: Mapping[str, RawSplit], rows: bool, config: DataConfig, progress: Progress
) -> Written:
    """Write values, labels and, where asked for, rows of splits into files in a folder.

    Args:
        folder: an empty one.
        splits: by name, the training split first; each gives numbers ``[n, F]`` of its rows.
        rows: whether their rows are kept.
        config: of the data.
        progress: called with the name of a split and the number of its examples.

    Raises:
        DistvaeError: no room is left.
    """
    first = next(iter(splits.values()))
    fields = [values_field(np.asarray(first.fetch(first.rows[:1])).shape[1])]
    check_space(folder, sum(len(split.rows) for split in splits.values()), fields, "vectors")
    digests: dict[str, str] = {}
    for name, split in splits.items():
        digests |= write_numbers(folder, name, split.known(rows))

        def fill(
            part: slice, parts: Mapping[str, NDArray[Any]], split: RawSplit = split
        ) -> Iterator[str]:
            parts[VALUES][:] = split.fetch(split.rows[part])
            yield from ()

        with progress(name, len(split.rows)) as advance:
            written, _ = write_fields(folder, name, fields, len(split.rows), fill, advance)
        digests |= written
    return Written(digests, [], fields=(VALUES,))
