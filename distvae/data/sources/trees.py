"""Files of a folder or of a zip, by place."""

import lzma
import os
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from distvae.errors import DistvaeError

DAMAGED = (
    *(OSError, EOFError, NotImplementedError),
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError),
)
"""What reading a damaged member of a zip raises."""
MEMBER_BYTES = 2**28
"""The most that one image in a zip may take."""
Place = tuple[str, ...]
"""The folders above a file and its name, from the top of the data."""


@dataclass(frozen=True, eq=False)
class Tree:
    """Files by place, and how one of them is fetched for ``decode_image``.

    ``hidden`` and ``empty`` are folders of which nothing is read.
    """

    address: str
    places: list[Place]
    hidden: list[str]
    empty: list[str]
    fetch: Callable[[Place], dict[str, Any]]


def folder_tree(path: Path) -> Tree:
    """All files of a folder, in a fixed order."""
    hidden: list[str] = []
    empty: list[str] = []
    places = [file.relative_to(path).parts for file in visible_files(path, hidden, empty)]

    def fetch(place: Place) -> dict[str, Any]:
        return {"bytes": None, "path": str(path.joinpath(*place))}

    return Tree(str(path), places, hidden, empty, fetch)


def visible_files(
    folder: Path, hidden: list[str] | None = None, empty: list[str] | None = None
) -> Iterator[Path]:
    """Every file below a folder that is not hidden, in a fixed order.

    Links to folders are followed, but not to one that they lie in. ``hidden`` and ``empty`` get the
    folders that are so.
    """
    above_of = {str(folder): {os.path.realpath(folder)}}
    for root, folders, files in os.walk(folder, followlinks=True):
        entered = above_of.pop(root)
        above = Path(root).relative_to(folder)
        if empty is not None and not folders and not files:
            empty.append(str(above))
        if hidden is not None:
            hidden += [str(above / name) for name in folders if name.startswith(".")]
        real = {name: os.path.realpath(Path(root, name)) for name in folders if name[0] != "."}
        folders[:] = sorted(name for name in real if real[name] not in entered)
        above_of |= {str(Path(root, name)): {*entered, real[name]} for name in folders}
        yield from (Path(root, name) for name in sorted(files) if not name.startswith("."))


def zip_tree(path: Path) -> Tree:
    """All files of a zip, which is read where it lies: nothing is unpacked.

    Raises:
        DistvaeError: it is damaged, encrypted, or a member lies outside.
    """
    try:
        archive = zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile, NotImplementedError) as error:
        raise DistvaeError(f"{path} cannot be read", f"{type(error).__name__}: {error}") from error
    members: dict[Place, zipfile.ZipInfo] = {}
    for member in archive.infolist():
        place = PurePosixPath(member.filename.replace("\\", "/")).parts
        if member.filename.startswith(("/", "\\")) or ".." in place or place in members:
            raise DistvaeError(
                f"{path} has a member {member.filename!r}",
                "it is there twice, or leads outside",
                "Unpack it with care, and give the folder.",
            )
        if member.flag_bits & 1:
            raise DistvaeError(f"{path} is encrypted", "expected a plain zip", "Unpack it first.")
        if not member.is_dir():
            members[place] = member
    unseen = [place for place in members if any(_is_hidden(part) for part in place)]

    def fetch(place: Place) -> dict[str, Any]:
        where = f"{path}/{'/'.join(place)}"
        try:
            with archive.open(members[place]) as file:
                content = file.read(MEMBER_BYTES + 1)
        except DAMAGED as error:
            raise DistvaeError(
                f"cannot read {where}",
                f"{type(error).__name__}: {error}",
                "Take another copy of the zip.",
            ) from error
        if len(content) > MEMBER_BYTES:
            raise DistvaeError(
                f"{where} is too large", f"expected {MEMBER_BYTES >> 20} MiB at most"
            )
        return {"bytes": content, "path": where}

    folders = {place[:depth] for place in unseen for depth in range(1, len(place))}
    hidden = sorted("/".join(folder) for folder in folders if _is_hidden(folder[-1]))
    return Tree(str(path), sorted(members.keys() - set(unseen)), hidden, [], fetch)


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"
