"""Examples that are drawn in batches, and how they are written as arrays and as a table."""

import contextlib
import csv
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
from distvae.fields import Field
from distvae.files import replacing_file
from distvae.memory import check_memory
from distvae.terminal import progress_bar

Examples = NDArray[Any]
"""Examples as they are stored ``[B, *S]``."""
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Drawing:
    """Examples about to be drawn, in batches."""

    field: Field
    """What is stored of an example, S its shape."""
    label_names: tuple[str, ...]
    labels: list[int] | None
    """Labels to draw, ``count`` examples each; None without labels."""
    count: int
    batches: Callable[[], Iterator[Examples]]
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
        """Number of examples."""
        return self.count * (1 if self.labels is None else len(self.labels))

    def __iter__(self) -> Iterator[tuple[Examples, Labels | None]]:
        """Examples ``[B, *S]``, labels ``[B]``, with a progress bar."""
        start = 0
        labels = None if self.labels is None else np.array(self.labels, np.int64)
        with progress_bar("sampling", self.total) as advance:
            for examples in self.batches():
                numbers = np.arange(start, start + len(examples)) // self.count
                yield examples, None if labels is None else labels[numbers]
                start += len(examples)
                advance(len(examples))


def write_arrays(output: Path, drawing: Drawing) -> None:
    """An .npz of the examples, by the name of what is stored, and of what they are given."""
    check_at_once(output, drawing)
    batches, name = list(drawing), drawing.field.name
    arrays: dict[str, NDArray[np.generic]] = {
        name: np.concatenate([examples for examples, _ in batches])
    }
    if drawing.given is not None:
        named = drawing.named(0, len(arrays[name]))
        arrays = {**{name: np.array(column) for name, column in named.items()}, **arrays}
    elif drawing.label_names:
        labels = [labels for _, labels in batches if labels is not None]
        arrays |= {"labels": np.concatenate(labels), "label_names": np.array(drawing.label_names)}
    with replacing_file(output) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def write_array(output: Path, drawing: Drawing) -> None:
    """Examples as they are drawn, so any number; their labels go to NAME-labels.npy beside them.

    Of several attributes their values go to NAME-attributes.npy, float32 ``[N, A]``.
    """
    shape = (drawing.total, *drawing.field.shape)
    check_room(output, drawing.total * drawing.field.bytes, drawing.field.name)
    kind = np.dtype(drawing.field.dtype).newbyteorder("<").str
    parts: list[tuple[Path, str, tuple[int, ...]]] = [(output, kind, shape)]
    if drawing.given is not None:
        width = len(drawing.attributes)
        beside = output.with_name(f"{output.stem}-attributes.npy")
        parts.append((beside, "<f4", (drawing.total, width)))
    elif drawing.labels is not None:
        parts.append((output.with_name(f"{output.stem}-labels.npy"), "<i8", shape[:1]))
    with contextlib.ExitStack() as stack:
        temporary = [stack.enter_context(replacing_file(path)) for path, *_ in parts]
        files = [stack.enter_context(path.open("wb")) for path in temporary]
        for file, (_, descr, sides) in zip(files, parts, strict=True):
            header = {"descr": descr, "fortran_order": False, "shape": sides}
            np.lib.format.write_array_header_1_0(file, header)
        start = 0
        for examples, labels in drawing:
            files[0].write(examples.astype(kind, copy=False).tobytes())
            if drawing.given is not None:
                values = drawing.given(np.arange(start, start + len(examples)))
                files[1].write(values.astype("<f4").tobytes())
            elif labels is not None:
                files[1].write(labels.astype("<i8").tobytes())
            start += len(examples)


def check_at_once(output: Path, drawing: Drawing) -> None:
    """Refuse examples that are written all at once, for which they are copied once, and do not fit.

    Raises:
        DistvaeError: they take more memory than there is.
    """
    check_memory(
        2 * drawing.total * drawing.field.bytes,
        f"{drawing.total:,} {drawing.field.name} at once for {output}",
        "Draw fewer, or take an .npy or a folder, which are written as they are drawn.",
    )


def check_room(output: Path, needed: int, what: str) -> None:
    """Refuse what does not fit on its disk.

    Args:
        output: where to.
        needed: bytes.
        what: it is, in the plural.

    Raises:
        DistvaeError: there is not room enough.
    """
    above = next(folder for folder in output.absolute().parents if folder.is_dir())
    free = shutil.disk_usage(above).free
    if needed > free:
        raise DistvaeError(
            f"--output {output} needs {needed / 1e6:,.1f} MB",
            f"{free / 1e6:,.1f} MB are free there",
            f"Draw fewer {what}, or name another disk.",
        )


def write_table(output: Path, drawing: Drawing, columns: Sequence[str]) -> None:
    """A csv of a row for each vector, its label or attributes last, written as they are drawn.

    Args:
        output: the file.
        drawing: of vectors ``[F]``.
        columns: names of their numbers, F.
    """
    known = [each.name for each in drawing.attributes]
    if drawing.labels and not known:
        known = [label_column(columns)]
    write_rows(output, [*columns, *known], _named_parts(drawing))


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
            shown = "d" if vectors.dtype.kind in "iu" else ".9g"  # each float32 has its own
            for row, vector in enumerate(vectors):
                numbers = [format(number, shown) for number in vector]
                writer.writerow([*numbers, *(column[row] for column in known)])


def label_column(columns: Sequence[str]) -> str:
    """What the column of labels is called beside these."""
    return next(name for name in ("label", "class", "class label", "") if name not in columns)
