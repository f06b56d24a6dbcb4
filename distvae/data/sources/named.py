"""Image files that tables name: they decide the data as much as the tables do."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from distvae.config import DataConfig
from distvae.data.roots import Root, is_file
from distvae.data.sources.columns import IMAGE_COLUMNS, usual_columns
from distvae.data.sources.refused import ending
from distvae.data.sources.text import SEPARATED, read_text
from distvae.errors import DistvaeError


def named_images(
    kind: str, path: Path, files: Sequence[Path], config: DataConfig, root: Root
) -> Iterator[Path]:
    """The image files that tables name, one for each row that names one.

    Args:
        kind: of the tables: ``text``, ``parquet`` or ``arrow``.
        path: the file or folder that is read.
        files: the tables in it.
        config: which column holds the images, where that is said.
        root: where the files may lie.

    Raises:
        DistvaeError: a row of a single table of text names a file that does not exist or lies
            outside. Other tables may hold the image beside its path, or be none of the images': of
            them files that exist are given, and what is wrong is told when its row is read.
    """
    for file in files:
        names = _names(path, file, config) if kind == "text" else _paths(kind, file, config)
        first = 1 + (ending(file.name) in SEPARATED)
        for number, name in enumerate(names, start=first):
            if kind == "text" and file == path and name:
                yield _existing(root.file(name, f"{file}, line {number},"), file, number)
            elif name and is_file(root.folder / name):
                yield root.folder / name


def _existing(image: Path, table: Path, line: int) -> Path:
    if not is_file(image):
        raise DistvaeError(
            f"{table}, line {line}: there is no image file {image}",
            f"it names paths relative to {table.parent}",
        )
    return image


def _names(path: Path, file: Path, config: DataConfig) -> list[str | None]:
    """What stands in the column of a table of text that may be paths of images."""
    try:
        table = read_text(file, path if path.is_dir() else path.parent, config, [])
    except DistvaeError:
        if file == path:
            raise
        return []  # perhaps none of the images'; if it is, that is told when it is read
    chosen = columns_of_paths(table.schema, config)[:1]
    return [name for column in chosen for name in paths_in(table, column)]


def paths_in(table: Any, column: str) -> list[str | None]:
    """What stands in a column of :func:`columns_of_paths` of a pyarrow table."""
    if column in table.column_names:
        return list(table[column].to_pylist())
    cells = table[column.removesuffix(".path")].to_pylist()
    return [None if cell is None else cell["path"] for cell in cells]


def _paths(kind: str, file: Path, config: DataConfig) -> Iterator[str | None]:
    """What stands in columns that may be paths of images; embedded images are not read."""
    import pyarrow as pa
    from pyarrow import parquet

    try:
        if kind == "parquet":
            opened = parquet.ParquetFile(file)
            chosen = columns_of_paths(opened.schema_arrow, config)
            batches = opened.iter_batches(columns=chosen) if chosen else iter(())
        else:
            batches = iter(pa.ipc.open_stream(pa.memory_map(str(file))))
        for batch in batches:
            for column in columns_of_paths(batch.schema, config):
                values = batch.column(column.partition(".")[0])
                values = values.field("path") if column.endswith(".path") else values
                yield from values.to_pylist()
    except (OSError, UnicodeError, pa.ArrowException):  # told when it is read
        return


def columns_of_paths(schema: Any, config: DataConfig) -> list[str]:
    """Columns of text, and the paths of encoded images, under the names that images have."""
    import pyarrow as pa

    result = []
    for field in schema:
        wanted = field.name == config.image_column if config.image_column else True
        if pa.types.is_struct(field.type) and wanted:
            result += [f"{field.name}.path" for child in field.type if child.name == "path"]
        elif (usual_columns([field.name], IMAGE_COLUMNS) and wanted) or (
            field.name == config.image_column
        ):
            text = pa.types.is_string(field.type) or pa.types.is_large_string(field.type)
            result += [field.name] if text else []
    return result
