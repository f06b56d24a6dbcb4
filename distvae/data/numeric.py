"""Numbers become a field of the store as they are."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distvae.config import DataConfig
from distvae.data.identity import Progress
from distvae.data.patches import write_views
from distvae.data.sources import RawSplit
from distvae.data.views import CROP
from distvae.data.writing import Written, check_space, write_fields, write_numbers
from distvae.domains import Domain
from distvae.fields import Field


def write_examples(
    domain: type[Domain],
    folder: Path,
    splits: Mapping[str, RawSplit],
    rows: bool,
    config: DataConfig,
    progress: Progress,
) -> Written:
    """Write examples, labels and, where asked for, rows of splits into files in a folder.

    Args:
        domain: what an example is.
        folder: an empty one.
        splits: by name, the training split first; each gives examples ``[n, *S]`` as stored, or
            whole ones of which views are taken.
        rows: whether their rows are kept.
        config: of the data.
        progress: called with the name of a split and the number of its examples.

    Raises:
        DistvaeError: no room is left.
    """
    first, name = next(iter(splits.values())), domain.field_name
    sample = first.fetch(first.rows[:1])[0]
    if first.view is not None:
        field = Field(name, first.view, sample.dtype.name)
        found = write_views(folder, splits, rows, field, name, CROP in config.augment, progress)
        return Written(*found, fields=(name,))
    sample = np.asarray(sample)
    field = Field(name, sample.shape, sample.dtype.name)
    check_space(folder, sum(len(split.rows) for split in splits.values()), [field], name)
    digests: dict[str, str] = {}
    for part, split in splits.items():
        digests |= write_numbers(folder, part, split.known(rows))

        def fill(
            place: slice, parts: Mapping[str, NDArray[Any]], split: RawSplit = split
        ) -> Iterator[str]:
            parts[name][:] = split.fetch(split.rows[place])
            yield from ()

        with progress(part, len(split.rows)) as advance:
            written, _ = write_fields(folder, part, [field], len(split.rows), fill, advance)
        digests |= written
    return Written(digests, [], fields=(name,))
