"""A name or a path becomes a train and a test split of encoded images with checked labels.

Finding a source is cheap and, for bundled and local data, never imports ``datasets``; reading it
finds columns and labels but decodes no image.
"""

import dataclasses
import re
from functools import partial
from pathlib import Path

from distvae.config import DataConfig
from distvae.data.cache import cache_folder
from distvae.data.identity import Progress, check_regular, files_identity
from distvae.data.sources.coloured import NAME as COLOURED
from distvae.data.sources.coloured import read_coloured
from distvae.data.sources.hub import load_hub
from distvae.data.sources.in_memory import held_source, is_name
from distvae.data.sources.labels import is_text
from distvae.data.sources.local import FILES, load_local, local_identity, read_local
from distvae.data.sources.mnist import read_mnist
from distvae.data.sources.raw import RawData, RawSplit, Source, domains_of_numbers
from distvae.data.sources.refused import ending
from distvae.data.sources.rows import read_rows, recognized_rows, rows_in
from distvae.data.sources.sprites import GRIDS, read_sprites
from distvae.data.sources.tables import read_tables
from distvae.data.sources.trees import visible_files
from distvae.data.sources.volumes import VOLUMES, holds_volumes, read_volumes
from distvae.errors import DistvaeError, NotImagesError, nearest

__all__ = ["RawData", "RawSplit", "Source", "load_source"]

BUNDLED = ("mnist", COLOURED, *GRIDS)


def load_source(config: DataConfig, progress: Progress | None = None) -> Source:
    """Find the data that ``config.data`` names.

    Args:
        config: what to find.
        progress: called where files must be read to be known again.

    Raises:
        DistvaeError: there is no such data, or the Hub cannot be reached. Splits, columns and
            labels are checked by ``Source.read``.
    """
    if is_name(config.data):
        return held_source(config)
    path = Path(config.data).expanduser()
    if config.domain == VOLUMES or (config.domain is None and holds_volumes(path)):
        return _load_volumes(config, progress)
    if config.domain in domains_of_numbers():
        return _load_rows(config, progress)
    if config.data in GRIDS:
        name = config.data.replace(":", "-")
        grid = f"drawn 1 {GRIDS[config.data]}"
        return Source(name, config.data, grid, lambda: read_sprites(config))
    if config.data == COLOURED:
        name = config.data.replace(":", "-")
        return Source(name, config.data, "drawn 1 coloured", lambda: read_coloured(config))
    if config.data in BUNDLED:
        return Source(config.data, f"bundled {config.data}", "bundled", lambda: read_mnist(config))
    path = Path(config.data).expanduser()
    if path.exists():
        path = _checked(path)
        return Source(
            _name_of(path),
            str(path),
            local_identity(path, config, progress),
            lambda: _read_local(path, config),
            lambda: load_local(path, config),
        )
    if _is_id(config.data):
        tables, identity = load_hub(config, _suggest(config.data))
        name = config.data.partition("/")[2]
        return Source(
            *(name, config.data, identity),
            lambda: read_tables(tables, config),
            lambda: tables,
        )
    raise DistvaeError(
        f"there is no data called {config.data!r}",
        f"expected {', '.join(BUNDLED)}, a file or folder that exists, or a Hub id like owner/name",
        _suggest(config.data),
    )


def _read_local(path: Path, config: DataConfig) -> RawData:
    """Images of a file or folder, or the rows of numbers that it holds instead."""
    try:
        return read_local(path, config)
    except NotImagesError as error:
        if config.domain is not None:
            raise
        return recognized_rows(partial(rows_in, path), config, error)


def _is_id(data: str) -> bool:
    """Whether it may be OWNER/NAME on the Hub: no file, and no folder OWNER is here."""
    if re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", data) is None:
        return False
    return ending(Path(data).name) not in FILES and not Path(data).parent.exists()


def _load_volumes(config: DataConfig, progress: Progress | None) -> Source:
    path = Path(config.data).expanduser()
    if not path.exists():
        raise DistvaeError(
            f"there are no volumes called {config.data!r}",
            "expected a file or folder that exists",
            _suggest(config.data),
        )
    path = _checked(path)
    files = [path] if path.is_file() else list(visible_files(path))
    root = path if path.is_dir() else path.parent
    identity = files_identity(root, files, cache_folder(config), False, progress)
    config = dataclasses.replace(config, domain=VOLUMES)
    return Source(_name_of(path), str(path), identity, lambda: read_volumes(path, config))


def _load_rows(config: DataConfig, progress: Progress | None) -> Source:
    path = Path(config.data).expanduser()
    if not path.exists():
        raise DistvaeError(
            f"there are no {config.domain} called {config.data!r}",
            "expected a file or folder that exists",
            _suggest(config.data),
        )
    path = _checked(path)
    identity = local_identity(path, config, progress)
    read = partial(read_rows, partial(rows_in, path), config)
    return Source(_name_of(path), str(path), identity, read)


def _checked(path: Path) -> Path:
    """The whole path of a file or folder that can be read.

    Raises:
        DistvaeError: it is no text, or a pipe or a device.
    """
    path = path.resolve()
    if not is_text(str(path)):
        raise DistvaeError(f"{path} is not UTF-8", "expected a path that is", "Rename it.")
    if not path.is_dir():
        check_regular([path])
    return path


def _name_of(path: Path) -> str:
    """What data there is called, fit for a folder name."""
    name = path.stem if path.is_file() else path.name
    return re.sub(r"[^\w.-]+", "-", name).strip("-.") or "data"


def _suggest(data: str) -> str:
    """The bundled name or the neighbouring file or folder that was perhaps meant."""
    path = Path(data).expanduser()
    neighbours = path.parent.iterdir() if path.parent.is_dir() else ()
    return nearest(str(path), [*BUNDLED, *(str(path.with_name(file.name)) for file in neighbours)])
