"""Which columns of a table of text are numbers of an example, labels, or neither."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from distvae.config import DataConfig
from distvae.data.sources.columns import LABEL_COLUMNS, check_known, usual_columns
from distvae.data.sources.raw import Notes

if TYPE_CHECKING:
    import pyarrow as pa

IDENTIFIERS = ("id", "ids", "idx", "index", "key", "nr", "row", "row_id", "rowid", "uid")
"""Names of columns that tell rows apart, in any case."""


def says_nothing(table: "pa.Table", name: str) -> bool:
    """Whether a column is empty, or tells the rows apart: numbered, or called so, all different."""
    import pyarrow as pa

    kind = table.schema.field(name).type
    if pa.types.is_null(kind):
        return True
    if not pa.types.is_integer(kind):
        return False
    if re.fullmatch(r"(Unnamed: \d+)?", name.strip()):  # as pandas writes it
        return bool(table[name].to_pylist() == list(range(table.num_rows)))
    return name.strip().lower() in IDENTIFIERS and len(table[name].unique()) == table.num_rows


def label_column(
    table: "pa.Table", asked: Sequence[str], config: DataConfig, notes: Notes
) -> str | None:
    """The column of labels: the first that is asked for, else one that is called so or repeats."""
    for name in asked:
        check_known(dict.fromkeys(table.column_names), name, "--label-column", config.data)
    if asked:
        return asked[0]
    usual = usual_columns(table.column_names, LABEL_COLUMNS) or _only_repeated_text(table)
    if not usual:
        notes.append("no column of labels is found (--label-column names one)")
        return None
    notes.append(f"column {usual[0]} is the label")
    return usual[0]


def _only_repeated_text(table: "pa.Table") -> list[str]:
    """The one column of text, where its words come again."""
    import pyarrow as pa

    texts = [
        name for name in table.column_names if pa.types.is_string(table.schema.field(name).type)
    ]
    repeated = len(texts) == 1 and len(table[texts[0]].unique()) <= table.num_rows / 2
    return texts if repeated else []


def is_real(table: "pa.Table", name: str) -> bool:
    """Whether a column holds numbers, or yes and no."""
    import pyarrow as pa

    kind = table.schema.field(name).type
    return bool(
        pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
    )


def numbers_of(table: "pa.Table", name: str) -> NDArray[np.float64]:
    """A column, NaN where nothing stands."""
    import pyarrow as pa

    numbers: NDArray[np.float64] = table[name].cast(pa.float64()).to_numpy()
    return numbers
