"""Latents as files: a parquet table in parts that a killed process leaves whole, or an .npz.

Legend: N examples, n of them that numbers are measured on, Z latents.
"""

import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from distvae.asking import written
from distvae.attributes import main_label
from distvae.data.identity import combined
from distvae.files import replacing_file
from distvae.places import evenly
from distvae.terminal import progress_bar
from distvae.tools.encoding import Coder, Codes, coder_of
from distvae.tools.examples import Examples
from distvae.tools.outputs import Outputs
from distvae.tools.parts import Parts
from distvae.tools.probing import MOST
from distvae.tools.trained import Trained, weights_of

if TYPE_CHECKING:
    import pyarrow as pa

    from distvae.tools.embed import Embedding

LATENTS = "latents"
"""The folder of the parts."""


class Table(NamedTuple):
    """What numbers and pictures are made of: at most ``MOST`` examples, taken evenly."""

    size: int
    """N."""
    latents: tuple[str, ...]
    mean: NDArray[np.float32]
    """``[n, Z]``."""
    labels: NDArray[np.int64]
    """Among ``label_names`` ``[n]``, -1 where one is not known."""
    label_names: tuple[str, ...]
    splits: NDArray[np.str_]
    """``[n]``."""
    ids: list[str]
    """``[n]``."""

    @classmethod
    def of_embedding(cls, found: "Embedding") -> "Table":
        """Of latents in memory."""
        rows = evenly(len(found.rows), MOST)
        labels = np.full(len(found.rows), -1) if found.labels is None else found.labels
        return cls(
            len(found.rows),
            found.latents,
            found.mean[rows],
            labels[rows],
            found.label_names,
            np.array(found.splits)[rows],
            [found.ids[row] for row in rows],
        )


def write_npz(path: Path, found: "Embedding") -> None:
    """Latents as arrays: ``mean``, ``variance``, ``ids``, ``labels`` and what these are called."""
    arrays: dict[str, Any] = {
        "mean": found.mean,
        "variance": found.variance,
        "latents": np.array(found.latents),
        "ids": np.array(found.ids),
        "splits": np.array(found.splits),
    }
    if found.labels is not None:
        arrays |= {"labels": found.labels, "label_names": np.array(found.label_names)}
    with replacing_file(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)


def write_parts(trained: Trained, examples: Examples, outputs: Outputs, part_rows: int) -> Table:
    """Encode all examples into a parquet table, with flat memory.

    In a folder its parts are written one after another; a command that was killed goes on after the
    last one, if model and data are the same. A single file is written whole or not at all.
    """
    from pyarrow import parquet

    coder = coder_of(trained)
    if outputs.only is not None:
        path = outputs.path("")
        _write_one(path, coder, examples)
        return _sample([path], coder, examples)
    folder = outputs.path(f"{LATENTS}/")
    key = combined([weights_of(trained), examples.identity, len(examples), part_rows])
    parts = Parts(folder, ".parquet", key)
    parts.take_up(examples, len(examples))
    start = parts.next
    with progress_bar("encoding", len(examples)) as advance, parts.telling_how_to_go_on():
        advance(start)
        for table, stop in _tables(coder, examples, start, part_rows, advance):
            parts.write(functools.partial(parquet.write_table, table), stop, examples.lost)
    parts.finish()
    outputs.written[-1] = parts.shown
    return _sample(parts.paths, coder, examples)


def _write_one(path: Path, coder: Coder, examples: Examples) -> None:
    from pyarrow import parquet

    with (
        replacing_file(path) as temporary,
        progress_bar("encoding", len(examples)) as advance,
    ):
        writer = None
        for table, _ in _tables(coder, examples, 0, MOST, advance):
            writer = writer or parquet.ParquetWriter(temporary, table.schema)
            writer.write_table(table)
        if writer is not None:
            writer.close()
        else:
            examples.refuse_none()


def _tables(
    coder: Coder, examples: Examples, start: int, rows: int, advance: Any
) -> Iterator[tuple["pa.Table", int]]:
    """About so many rows at once, and the number of the example after them."""
    import pyarrow as pa

    collected: list[pa.Table] = []
    begin = start
    for codes in coder.codes(examples, start, advance):
        collected.append(_arrow(codes, coder, examples))
        if codes.part.asked.stop - begin >= rows:
            begin = codes.part.asked.stop
            yield pa.concat_tables(collected, promote_options="permissive"), begin
            collected = []
    if collected:
        yield pa.concat_tables(collected, promote_options="permissive"), len(examples)


def _arrow(codes: Codes, coder: Coder, examples: Examples) -> "pa.Table":
    """Some examples: id, split, label or attributes, latents, variances, other columns."""
    import pyarrow as pa

    rows = codes.part.rows
    columns: dict[str, Any] = {"id": pa.array(examples.names(rows), pa.string())}
    if len(examples.pieces) > 1:
        columns["split"] = pa.array([examples.splits[row] for row in rows], pa.string())
    for name, cells in _known(examples, rows).items():
        columns[_free(name, columns)] = cells
    variance = np.exp(codes.log_variance)
    columns |= {f"z{name}": codes.mean[:, place] for place, name in enumerate(coder.names)}
    columns |= {f"var{name}": variance[:, place] for place, name in enumerate(coder.names)}
    for name, found in examples.beside(rows).items():
        if name not in columns:
            columns[name] = pa.array(found)
    return pa.table(columns)


def _free(name: str, columns: Any) -> str:
    """A name that no column has yet."""
    return name if name not in columns else _free(f"{name}_", columns)


def _known(examples: Examples, rows: NDArray[np.int64]) -> dict[str, Any]:
    """What the data say of some examples, in words; nothing for what is not known."""
    import pyarrow as pa

    values = examples.values(rows)
    if values is None:
        return {}
    words = written(values, examples.data)
    result = {}
    for each, column, numbers in zip(examples.data, words, values.T, strict=True):
        cells = [word or None for word in column]
        measured = pa.array(np.asarray(numbers, np.float32), from_pandas=True)
        result[each.name] = pa.array(cells, pa.string()) if each.labels else measured
    return result


def _sample(paths: Sequence[Path], coder: Coder, examples: Examples) -> Table:
    """Of the parts of a table, as many rows as numbers take."""
    from pyarrow import parquet

    counts = [parquet.read_metadata(path).num_rows for path in paths]
    chosen, first = evenly(sum(counts), MOST), 0
    main, names = main_label(examples.data), examples.label_names
    wanted = ["id", *(f"z{name}" for name in coder.names)]
    wanted += ["split"] if len(examples.pieces) > 1 else []
    label = None if main is None else examples.data[main].name
    label = f"{label}_" if label in ("id", "split") else label
    wanted += [label] if label is not None else []
    index = {name: number for number, name in enumerate(names)}
    parts = []
    for path, count in zip(paths, counts, strict=True):
        own = chosen[(chosen >= first) & (chosen < first + count)] - first
        parts.append(parquet.read_table(path, columns=wanted).take(own))
        first += count
    import pyarrow as pa

    whole = pa.concat_tables(parts)
    ids = whole["id"].to_pylist()
    found: list[Any] = [None] * len(ids) if label is None else whole[label].to_pylist()
    only = examples.pieces[0].split
    splits = whole["split"].to_pylist() if len(examples.pieces) > 1 else [only] * len(ids)
    mean = np.stack([whole[f"z{name}"].to_numpy() for name in coder.names], 1)
    labels = np.array([index.get(word, -1) for word in found], np.int64)
    return Table(sum(counts), coder.names, mean, labels, names, np.array(splits), ids)
