"""Where a tool writes, and the lines that end its command."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

from distvae.domains.volumes import Volumes
from distvae.errors import DistvaeError
from distvae.files import TEMPORARY, replacing_file, write_text
from distvae.terminal import say
from distvae.tools.trained import Trained

OF_VOLUMES = ("embed", "score", "latents", "decode", "report")
"""Tools that look at volumes too."""
OWNER = ".distvae-tool"
"""Lies in a folder that a tool wrote."""


class Outputs:
    """The files of one call of a tool.

    Args:
        trained: below whose folder they go, to a folder named after the tool.
        tool: its name.
        output: --output: another folder, or one file with its ending; None for the usual folder.
        endings: of the files that the tool can write, such as ``.png``.

    Raises:
        DistvaeError: the output is a file or folder that no tool wrote.
    """

    def __init__(
        self, trained: Trained, tool: str, output: str | None, endings: Sequence[str]
    ) -> None:
        if isinstance(trained.domain, Volumes) and tool not in OF_VOLUMES:
            raise DistvaeError(
                f"distvae {tool} does not fit {trained.domain.told}",
                "it draws sheets of images, or rows of a table",
                "Take distvae sample, reconstruct, decode, embed or score, which write volumes and "
                "tables, or look at the slices in the run's samples/.",
            )
        path = trained.folder / tool if output is None else Path(output)
        self.only = path if path.suffix else None
        """The one file that was asked for."""
        self.folder = path.parent if path.suffix else path
        self.written: list[Path] = []
        self._tool = tool
        if path.suffix and path.suffix not in endings:
            raise DistvaeError(
                f"--output {path} has an unknown ending",
                f"expected a folder, or a file that ends in {', '.join(endings)}",
            )
        if path.suffix and path.is_dir():
            raise DistvaeError(f"--output {path} is a folder", "expected a file to write")
        if not path.suffix and path.exists():
            self._check_ours(path)

    def _check_ours(self, path: Path) -> None:
        if not path.is_dir():
            raise DistvaeError(f"--output {path} is a file", "expected a folder")
        others = [name.name for name in path.iterdir() if not name.name.startswith(TEMPORARY)]
        if others and not (path / OWNER).is_file():
            raise DistvaeError(
                f"--output {path} holds files that distvae {self._tool} did not write",
                "expected a new folder, or one that it wrote",
                "Take another --output.",
            )

    def wants(self, ending: str) -> bool:
        """Whether files of this ending are asked for: all are, unless one file was named."""
        return self.only is None or self.only.suffix == ending

    def path(self, name: str) -> Path:
        """Where a file of this name goes, or the one file that was asked for."""
        return self._noted(self.folder / name if self.only is None else self.only)

    def working(self, name: str) -> Path:
        """A folder of this name for files that are removed in the end, so that none is told."""
        self._take()
        return self.folder / name

    def beside(self, name: str) -> Path:
        """Where a file of this name goes; beside the one file that was asked for, with its stem."""
        if self.only is None:
            return self.path(name)
        return self._noted(self.only.with_name(f"{self.only.stem}-{name}"))

    def _noted(self, path: Path) -> Path:
        """A path that is told at the end."""
        self._take()
        self.written.append(path)
        return path

    def _take(self) -> None:
        """The folder is there and ours from now on."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.only is None and not (self.folder / OWNER).exists():
            write_text(self.folder / OWNER, f"distvae {self._tool}\n")

    def tell(self, *numbers: str) -> None:
        """The last lines of the command: its numbers, and every file."""
        for line in numbers:
            say(line)
        listed = ", ".join(str(path.relative_to(self.folder)) for path in self.written)
        say(f"written to {self.folder}: {listed}")


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a table whole."""
    with (
        replacing_file(path) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
