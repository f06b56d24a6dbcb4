"""A table beside volumes: which of its columns names them, and what it says of each."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from distvae.config import DataConfig
from distvae.data.sources import columns
from distvae.data.sources.attributes import Given
from distvae.data.sources.labels import Numbers
from distvae.data.sources.raw import Notes
from distvae.data.sources.refused import ending
from distvae.data.sources.scans import ScanFile
from distvae.data.sources.table_labels import given_of, labels_of_tables
from distvae.data.sources.text import TEXT, read_table
from distvae.text import some

if TYPE_CHECKING:
    import pyarrow as pa


class Labels(NamedTuple):
    """What volumes are given."""

    numbers: Numbers
    """Of labels, by split."""
    names: tuple[str, ...]
    given: Given | None = None
    """Where it is something else than one label."""


def is_table(path: Path) -> bool:
    """Whether a file may be a table beside volumes."""
    return ending(path.name) in TEXT


def labels_beside(
    path: Path, splits: Mapping[str, Sequence[ScanFile]], config: DataConfig, notes: Notes
) -> Labels:
    """What the tables at the top of a folder say of the volumes in it.

    A row names a volume by its path in the folder or by the name of the file, with its ending or
    without; a series of DICOM by its folder. What no row names has no label.

    Args:
        path: the folder.
        splits: the volumes, the training split first.
        config: which columns hold labels, where that is said.
        notes: is told what was recognized.

    Raises:
        DistvaeError: a table cannot be read, or lacks the columns that are asked for.
    """
    import datasets

    for file in sorted(path.iterdir()) if path.is_dir() else ():
        if not is_table(file):
            continue
        table = read_table(file, notes)
        column, places = _named(table, splits, path)
        if column is None:
            told = some(table.column_names)
            notes.append(f"no column of {file.name} names volumes: {told}; it is left out")
            continue
        tables = {
            name: datasets.Dataset(datasets.table.InMemoryTable(table.take(places[name])))
            for name in splits
        }
        features = next(iter(tables.values())).features
        candidates = [
            name
            for name in columns.label_columns(features, config.label_column, config.data)
            if name != column
        ] or columns.only_other(features, column)
        notes.append(f"column {column} of {file.name} names volumes")
        if given := given_of(tables, column, candidates, config, notes):
            return Labels({}, given.label_names, given)
        return Labels(*labels_of_tables(tables, column, candidates, config, notes))
    return Labels({}, ())


def _named(
    table: "pa.Table", splits: Mapping[str, Sequence[ScanFile]], path: Path
) -> tuple[str | None, dict[str, "pa.Array"]]:
    """The column that names most volumes, and the row of each by split, null without one."""
    import pyarrow as pa

    best, found, most = None, dict[str, "pa.Array"](), 0
    for column in table.column_names:
        rows: dict[str, int] = {}
        for number, cell in enumerate(table[column].to_pylist()):
            if cell is not None:
                rows.setdefault(str(cell).replace("\\", "/").removeprefix("./"), number)
        places = {
            name: [
                next((rows[key] for key in _keys(one, path) if key in rows), None) for one in scans
            ]
            for name, scans in splits.items()
        }
        count = sum(place is not None for each in places.values() for place in each)
        if count > most:
            best, most = column, count
            found = {name: pa.array(each, pa.int64()) for name, each in places.items()}
    return best, found


def _keys(scan: ScanFile, path: Path) -> Iterator[Any]:
    """What a row may call a volume, the surest first."""
    named = scan.path.parent if scan.series else scan.path
    yield str(named.relative_to(path))
    yield named.name
    yield named.name if scan.series else named.name.split(".")[0]
