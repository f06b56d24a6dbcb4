"""Images beside a table of text: which of its columns names them, and how they are found."""

import os
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distvae.config import DataConfig
from distvae.data.encoded import pictures
from distvae.data.sources import split_columns
from distvae.data.sources.columns import IMAGE_COLUMNS, LABEL_COLUMNS, fold, usual_columns
from distvae.data.sources.labels import some
from distvae.data.sources.raw import Notes
from distvae.data.sources.refused import ending
from distvae.data.sources.splits import WORDS, words_of
from distvae.data.sources.trees import visible_files

if TYPE_CHECKING:
    import pyarrow as pa

LOOKED_AT = 32
"""Rows by which it is told how a column names images."""
Find = Callable[[Any], str | None]
"""The path of the image that a cell names, relative to the top of the data, or None."""


def with_images(
    table: "pa.Table", path: Path, root: Path, config: DataConfig, notes: Notes
) -> "pa.Table":
    """A table that names images by their paths below ``root``, in a column of a usual name.

    Cells may be paths from where the table lies, or names of files below it, with their ending or
    without. Where no column has a usual name, one is taken whose cells name images and beside
    which there are labels.

    Args:
        table: what stands in the file.
        path: of the file.
        root: the top of the data.
        config: which column names images, where that is said.
        notes: is told what was found otherwise than by its path and name.
    """
    images = _Images(path, root)
    if (column := certain_column(table.schema, config)) is not None:
        find = images.finder(_sample(table, column), column, notes)
        return _replaced(table, column, column, find or images.by_path, images)
    for column in _guesses(table, config):
        find = images.finder(_sample(table, column), column, notes)
        if find is not None:
            free = next(name for name in IMAGE_COLUMNS if name not in table.column_names)
            notes.append(f"column {column} of {path.name} names images")
            return _replaced(table, column, free, find, images)
    return table


def certain_column(schema: "pa.Schema", config: DataConfig) -> str | None:
    """The column of text that is asked for, or has the first of the names that images have."""
    if config.image_column is not None:
        columns = [name for name in schema.names if name == config.image_column]
    else:
        columns = usual_columns(schema.names, IMAGE_COLUMNS)
    return next((name for name in columns if _is_text(schema.field(name).type)), None)


def _guesses(table: "pa.Table", config: DataConfig) -> Iterator[str]:
    """Columns that may name images: those with names of files first, then numbers and names."""
    import pyarrow as pa

    if config.image_column is not None:
        return
    names = [
        name
        for name in table.column_names
        if name != config.label_column
        and fold(name) not in {*map(fold, LABEL_COLUMNS), *split_columns.COLUMNS}
        and (_is_text(kind := table.schema.field(name).type) or pa.types.is_integer(kind))
        and _labels_beside(table.column_names, name, config)
    ]
    files = [
        name
        for name in names
        if all(ending(str(cell)) in pictures() for cell in _sample(table, name))
    ]
    yield from files
    for name in names:
        if name not in files and len(table[name].unique()) == table.num_rows:
            yield name


def _labels_beside(columns: Sequence[str], image: str, config: DataConfig) -> bool:
    """Whether a table has labels if this column is the image: by name, or as all that is left."""
    others = [
        name for name in columns if name != image and fold(name) not in ("", *split_columns.COLUMNS)
    ]
    return (
        config.label_column in others
        or bool(usual_columns(others, LABEL_COLUMNS))
        or len(others) == 1
    )


def _sample(table: "pa.Table", column: str) -> list[Any]:
    return [cell for cell in table[column][:LOOKED_AT].to_pylist() if cell is not None]


def _is_text(kind: "pa.DataType") -> bool:
    import pyarrow as pa

    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _replaced(
    table: "pa.Table", column: str, name: str, find: Find, images: "_Images"
) -> "pa.Table":
    """The table with paths in a column, which gets a name; what is not found stays as it is."""
    import pyarrow as pa

    cells = table[column].to_pylist()
    found = [None if cell is None else find(cell) or images.by_path(cell) for cell in cells]
    return table.set_column(table.column_names.index(column), name, pa.array(found, pa.string()))


class _Images:
    """The images that a table in a file may name."""

    def __init__(self, table: Path, root: Path) -> None:
        self._folder, self._root = table.parent, root
        self._above = table.parent.relative_to(root)
        self._role = _role(table.stem)

    def by_path(self, cell: Any) -> str:
        """What a cell names from where the table lies, whether it is there or not."""
        name = str(cell)
        return str(self._above / name) if name and "://" not in name and self._above.parts else name

    def finder(self, cells: Sequence[Any], column: str, notes: Notes) -> Find | None:
        """How to find the images that cells name; None where some are not found."""
        if not cells:
            return None
        if all(os.path.isfile(self._root / self.by_path(cell)) for cell in cells):  # noqa: PTH113
            return self.by_path
        for index, what in ((self._names, "names"), (self._stems, "names without ending")):
            found = [_looked_up(index, cell) for cell in cells]
            if all(found):
                folders = some(dict.fromkeys(str(Path(path or "").parent) for path in found), 3)
                notes.append(f"images are found by {what} in column {column}, in folder {folders}")
                return partial(_looked_up, index)
        return None

    @cached_property
    def _names(self) -> dict[str, str | None]:
        return _unique((file.name, self._below(file)) for file in self._files)

    @cached_property
    def _stems(self) -> dict[str, str | None]:
        return _unique((file.stem, self._below(file)) for file in self._files)

    def _below(self, file: Path) -> str:
        return str(file.relative_to(self._root))

    @cached_property
    def _files(self) -> list[Path]:
        """Images below the table's folder: of its split only, if folders have the names of some."""
        own = [
            folder
            for folder in self._folder.iterdir()
            if self._role is not None and folder.is_dir() and _role(folder.name) == self._role
        ]
        return [
            file
            for folder in own or [self._folder]
            for file in visible_files(folder)
            if ending(file.name) in pictures()
        ]


def _role(name: str) -> str | None:
    """The split that a name speaks of."""
    return next((WORDS[word] for word in words_of(name) if word in WORDS), None)


def _unique(pairs: Iterator[tuple[str, str]]) -> dict[str, str | None]:
    """Paths by name; None for a name that several have."""
    found: dict[str, str | None] = {}
    for name, path in pairs:
        found[name] = None if name in found else path
    return found


def _looked_up(index: dict[str, str | None], cell: Any) -> str | None:
    """The image of the name that a cell ends in, whatever folders of another machine it tells."""
    name = str(cell)
    return None if "://" in name else index.get(name.replace("\\", "/").rpartition("/")[2])
