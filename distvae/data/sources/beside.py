"""Images beside a table of text: which of its columns names them, and how they are found."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distvae.config import DataConfig
from distvae.data.encoded import pictures
from distvae.data.roots import is_file
from distvae.data.sources import split_columns
from distvae.data.sources.attributes import asked_columns
from distvae.data.sources.columns import IMAGE_COLUMNS, LABEL_COLUMNS, fold, usual_columns
from distvae.data.sources.raw import Notes
from distvae.data.sources.refused import ending
from distvae.data.sources.splits import role_of
from distvae.data.sources.trees import visible_files
from distvae.text import some

if TYPE_CHECKING:
    import pyarrow as pa

LOOKED_AT = 32
"""Rows by which it is told how a column names images."""
Find = Callable[[Any], str | None]
"""The path of the image that a cell names, relative to the top of the data, or None."""


def with_images(
    tables: Mapping[Path, "pa.Table"], root: Path, config: DataConfig, notes: Notes
) -> list["pa.Table"]:
    """Tables that name images by their paths below ``root``, in a column of a usual name.

    Cells may be paths from where the table lies, or names of files below it, with their ending or
    without. Where no column has a usual name, one is taken whose cells name images and beside
    which there are labels or splits.

    Args:
        tables: what stands in files.
        root: the top of the data.
        config: which column names images, where that is said.
        notes: is told what was found otherwise than by its path and name.
    """
    images = {path: _Images(path, root) for path in tables}
    guess = next(
        (
            column
            for path, table in tables.items()
            if certain_column(table.schema, config) is None
            for column in _guesses(table, config)
            if images[path].finder(_sample(table, column)) is not None
        ),
        None,
    )
    return [
        _with_images(table, path.name, images[path], guess, config, notes)
        for path, table in tables.items()
    ]


def _with_images(
    table: "pa.Table",
    name: str,
    images: "_Images",
    guess: str | None,
    config: DataConfig,
    notes: Notes,
) -> "pa.Table":
    certain = certain_column(table.schema, config)
    column = guess if certain is None else certain
    if column is None or column not in table.column_names:
        return table
    find, how = images.finder(_sample(table, column)) or (images.by_path, "")
    if how:
        notes.append(f"column {column} of {name} names images {how}")
    elif certain is None:
        notes.append(f"column {column} of {name} names images")
    free = next(name for name in IMAGE_COLUMNS if name not in table.column_names)
    return _replaced(table, column, certain or free, find, images)


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
    asked = asked_columns(config.label_column, table.column_names)
    names = [
        name
        for name in table.column_names
        if name not in asked
        and fold(name) not in {*map(fold, LABEL_COLUMNS), *split_columns.COLUMNS}
        and (_is_text(kind := table.schema.field(name).type) or pa.types.is_integer(kind))
        and _told_beside(table.column_names, name, config)
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


def _told_beside(columns: Sequence[str], image: str, config: DataConfig) -> bool:
    """Whether a table has splits or labels, by name or as all that is left beside this column."""
    others = [
        name for name in columns if name != image and fold(name) not in ("", *split_columns.COLUMNS)
    ]
    return (
        bool(set(asked_columns(config.label_column, columns)) & set(others))
        or any(fold(name) in split_columns.COLUMNS for name in columns)
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
        self._role = role_of(table.stem)

    def by_path(self, cell: Any) -> str:
        """What a cell names from where the table lies, whether it is there or not."""
        name = str(cell)
        return str(self._above / name) if name and "://" not in name and self._above.parts else name

    def finder(self, cells: Sequence[Any]) -> tuple[Find, str] | None:
        """How to find the images that cells name, and in words; None where some are not found."""
        if not cells:
            return None
        if all(is_file(self._root / self.by_path(cell)) for cell in cells):
            return self.by_path, ""
        for index, what in ((self._names, ""), (self._stems, "without their ending, ")):
            found = [_looked_up(index, cell) for cell in cells]
            if all(found):
                folders = some(dict.fromkeys(str(Path(path or "").parent) for path in found), 3)
                return partial(_looked_up, index), f"{what}in folder {folders}"
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
            if self._role is not None and folder.is_dir() and role_of(folder.name) == self._role
        ]
        return [
            file
            for folder in own or [self._folder]
            for file in visible_files(folder)
            if ending(file.name) in pictures()
        ]


def _unique(pairs: Iterator[tuple[str, str]]) -> dict[str, str | None]:
    """Paths by name; None for a name that several have."""
    result: dict[str, str | None] = {}
    for name, path in pairs:
        result[name] = None if name in result else path
    return result


def _looked_up(index: dict[str, str | None], cell: Any) -> str | None:
    """The image of the name that a cell ends in, whatever folders of another machine it tells."""
    name = str(cell)
    return None if "://" in name else index.get(name.replace("\\", "/").rpartition("/")[2])
