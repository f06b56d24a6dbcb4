"""Examples that are drawn in batches, and how they are written: a sheet, arrays, a table."""

import contextlib
import csv
import math
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distvae.asking import written
from distvae.attribute_values import Given
from distvae.attributes import Attribute
from distvae.errors import DistvaeError
from distvae.files import new_folder, replacing_file
from distvae.memory import check_memory
from distvae.terminal import progress_bar
from distvae.text import file_name

COLUMNS, MOST_COLUMNS = 10, 20
SMALLEST_PNG = 67
"""Bytes of a picture of one pixel."""
Images = NDArray[np.uint8]
Examples = NDArray[Any]
"""Images, or vectors float32 in the units of the data."""
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Drawing:
    """Images about to be drawn, in batches."""

    shape: tuple[int, ...]
    """Of an example."""
    label_names: tuple[str, ...]
    labels: list[int] | None
    """Labels to draw, ``count`` images each; None without labels."""
    count: int
    batches: Callable[[], Iterator[Examples]]
    columns: tuple[str, ...] = ()
    """Names of the numbers of vectors; of images there are none."""
    attributes: tuple[Attribute, ...] = ()
    """Where examples are given something else than one label; a label is then a combination."""
    given: Given | None = None
    """What each example is given, of several attributes."""

    def named(self, start: int, count: int) -> dict[str, list[str]]:
        """What some examples are given, in words by name; nothing for what is not known."""
        if self.given is None:
            return {}
        values = written(self.given(np.arange(start, start + count)), self.attributes)
        return {each.name: column for each, column in zip(self.attributes, values, strict=True)}

    @property
    def total(self) -> int:
        """Number of images."""
        return self.count * (1 if self.labels is None else len(self.labels))

    def __iter__(self) -> Iterator[tuple[Examples, Labels | None]]:
        """Images ``[B, C, H, W]`` or vectors ``[B, F]``, labels ``[B]``, with a progress bar."""
        start = 0
        labels = None if self.labels is None else np.array(self.labels, np.int64)
        with progress_bar("sampling", self.total) as advance:
            for images in self.batches():
                numbers = np.arange(start, start + len(images)) // self.count
                yield images, None if labels is None else labels[numbers]
                start += len(images)
                advance(len(images))


def _write_sheet(output: Path, drawing: Drawing) -> None:
    from distvae.images import save_grid

    _check_memory(output, drawing)
    images = np.concatenate([images for images, _ in drawing])
    columns = drawing.count if 1 < drawing.count <= MOST_COLUMNS else COLUMNS  # a row is a label
    save_grid(output, images, min(columns, len(images)))


def _write_arrays(output: Path, drawing: Drawing) -> None:
    _check_memory(output, drawing)
    batches = list(drawing)
    arrays: dict[str, NDArray[np.generic]] = {
        "images": np.concatenate([images for images, _ in batches])
    }
    if drawing.given is not None:
        named = drawing.named(0, len(arrays["images"]))
        arrays = {**{name: np.array(column) for name, column in named.items()}, **arrays}
    elif drawing.label_names:
        labels = [labels for _, labels in batches if labels is not None]
        arrays |= {"labels": np.concatenate(labels), "label_names": np.array(drawing.label_names)}
    with replacing_file(output) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def _write_array(output: Path, drawing: Drawing) -> None:
    """Images as they are drawn, so any number; their labels go to NAME-labels.npy beside them.

    Of several attributes their values go to NAME-attributes.npy, float32 ``[N, A]``.
    """
    shape = (drawing.total, *drawing.shape)
    _check_room(output, math.prod(shape))
    parts: list[tuple[Path, str, tuple[int, ...]]] = [(output, "|u1", shape)]
    if drawing.given is not None:
        width = len(drawing.attributes)
        beside = output.with_name(f"{output.stem}-attributes.npy")
        parts.append((beside, "<f4", (drawing.total, width)))
    elif drawing.labels is not None:
        parts.append((output.with_name(f"{output.stem}-labels.npy"), "<i8", shape[:1]))
    with contextlib.ExitStack() as stack:
        temporary = [stack.enter_context(replacing_file(path)) for path, *_ in parts]
        files = [stack.enter_context(path.open("wb")) for path in temporary]
        for file, (_, kind, sides) in zip(files, parts, strict=True):
            header = {"descr": kind, "fortran_order": False, "shape": sides}
            np.lib.format.write_array_header_1_0(file, header)
        start = 0
        for images, labels in drawing:
            files[0].write(images.tobytes())
            if drawing.given is not None:
                values = drawing.given(np.arange(start, start + len(images)))
                files[1].write(values.astype("<f4").tobytes())
            elif labels is not None:
                files[1].write(labels.astype("<i8").tobytes())
            start += len(images)


def _check_memory(output: Path, drawing: Drawing) -> None:
    """Images that are written all at once, for which they are copied once."""
    check_memory(
        2 * drawing.total * math.prod(drawing.shape),
        f"{drawing.total:,} images at once for {output}",
        "Draw fewer, or take an .npy or a folder, which are written as they are drawn.",
    )


def _check_room(output: Path, needed: int) -> None:
    above = next(folder for folder in output.absolute().parents if folder.is_dir())
    free = shutil.disk_usage(above).free
    if needed > free:
        raise DistvaeError(
            f"--output {output} needs {needed / 1e6:,.1f} MB",
            f"{free / 1e6:,.1f} MB are free there",
            "Draw fewer images, or name another disk.",
        )


def _write_pictures(output: Path, drawing: Drawing) -> None:
    from distvae.images import save_png

    _check_room(output, SMALLEST_PNG * drawing.total)
    number, names = 0, [file_name(name) for name in drawing.label_names]
    with new_folder(output) as folder:
        for images, labels in drawing:
            for row, image in enumerate(images):
                name = "" if labels is None else f"{names[labels[row]]}-"
                save_png(folder / f"{name}{number:05d}.png", image)
                number += 1


def _write_table(output: Path, drawing: Drawing) -> None:
    """A row for each vector, the name of its label or its attributes last, as they are drawn."""
    known = [each.name for each in drawing.attributes]
    if drawing.labels and not known:
        known = [label_column(drawing.columns)]
    write_rows(output, [*drawing.columns, *known], _named_parts(drawing))


def _named_parts(drawing: Drawing) -> Iterator[tuple[Examples, Sequence[Sequence[str]]]]:
    start = 0
    for vectors, labels in drawing:
        columns = list(drawing.named(start, len(vectors)).values())
        if labels is not None and not columns:
            columns = [[drawing.label_names[label] for label in labels]]
        yield vectors, columns
        start += len(vectors)


def write_rows(
    output: Path,
    header: Sequence[str],
    parts: Iterable[tuple[Examples, Sequence[Sequence[str]]]],
) -> None:
    """Write vectors as a csv, and what they are given last.

    Args:
        output: the file.
        header: names of the numbers, F, and of what they are given.
        parts: vectors ``[B, F]``, and a list ``[B]`` for each thing that they are given.
    """
    with (
        replacing_file(output) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        for vectors, known in parts:
            for row, vector in enumerate(vectors):
                numbers = [f"{number:.9g}" for number in vector]  # each float32 has its own
                writer.writerow([*numbers, *(column[row] for column in known)])


def label_column(columns: Sequence[str]) -> str:
    """What the column of labels is called beside these."""
    return next(name for name in ("label", "class", "class label", "") if name not in columns)


TABLES: dict[str, Callable[[Path, Drawing], None]] = {".csv": _write_table}
"""How vectors are written, by the ending of the output."""
WRITERS: dict[str, Callable[[Path, Drawing], None]] = {
    ".png": _write_sheet,
    ".npz": _write_arrays,
    ".npy": _write_array,
    "": _write_pictures,
}
"""How images are written, by the ending of the output."""
