"""Examples that a model drew, which a notebook shows and every format of the command writes.

Legend: N examples, S the axes of an example.
"""

import dataclasses
import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from distvae.asking import usual_rows, written
from distvae.attribute_values import Given, Values, asked_values
from distvae.attributes import Attribute, is_label
from distvae.domains import Domain, ending_among, told_endings
from distvae.drawings import Drawing, Examples
from distvae.errors import DistvaeError
from distvae.files import reporting_disk_errors
from distvae.labels import Labels, label_indices, numbers_of
from distvae.tools.html import table

if TYPE_CHECKING:
    from torch import Tensor

    from distvae.models import VAE

SHOWN = 20
"""Rows of a table of numbers that a notebook shows."""


@dataclass(frozen=True, eq=False)
class Samples:
    """Examples that a model drew."""

    arrays: NDArray[Any]
    """As they are stored ``[N, *S]``: images are uint8 ``[N, C, H, W]``."""
    given: tuple[dict[str, str], ...]
    """What each of them was asked to be, in words by name ``[N]``; empty without labels."""
    domain: Domain
    drawing: Drawing
    """The same for whoever writes it."""

    def __len__(self) -> int:
        """N."""
        return len(self.arrays)

    def __repr__(self) -> str:
        return (
            f"<{len(self)} {self.domain.examples}, {self.arrays.dtype} {list(self.arrays.shape)}>"
        )

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write them, as ``distvae sample --output`` does.

        Args:
            path: of images a ``.png`` sheet, an ``.npz`` or ``.npy`` of arrays, or a new folder of
                PNG files; of rows of a table a ``.csv``, an ``.npz`` or an ``.npy``.

        Raises:
            DistvaeError: the ending is another, or the disk is full.
        """
        output = Path(path).expanduser()
        ending = ending_among(output, self.domain.writers)
        if ending not in self.domain.writers:
            raise DistvaeError(
                f"{output} does not fit {self.domain.examples}",
                f"expected {told_endings(type(self.domain))}",
            )
        if not ending and output.exists():
            raise DistvaeError(f"{output} is there already", "expected a new folder")
        what = self.domain.examples
        with reporting_disk_errors(f"the {what} cannot be written to {output}", output.parent):
            output.parent.mkdir(parents=True, exist_ok=True)
            self.domain.writer(ending)(output, self.drawing)
        return output

    def _repr_png_(self) -> bytes | None:
        """The sheet, of pictures."""
        if "pictures" not in self.domain.part.traits:
            return None
        with tempfile.TemporaryDirectory() as scratch:
            return self.save(Path(scratch, "sheet.png")).read_bytes()

    def _repr_html_(self) -> str | None:
        """A table of the first rows, of numbers."""
        if "pictures" in self.domain.part.traits:
            return None
        names = [*self.domain.names, *(self.given[0] if self.given else ())]
        rows = [
            [*(f"{number:.4g}" for number in row.reshape(-1)), *known.values()]
            for row, known in zip(self.arrays[:SHOWN], self.given or ({},) * SHOWN, strict=False)
        ]
        return table(rows, names)


def draw(model: "VAE", label: Labels | None, n: int, seed: int, temperature: float) -> Samples:
    """Examples drawn from a model's prior; see :meth:`distvae.TrainedRun.samples`."""
    from distvae.ranges import whole_number

    n, domain, attributes = whole_number(n, "n", 1), model.domain, model.attributes

    def stored(parts: "Iterable[Tensor]") -> Examples:
        return np.concatenate([domain.to_stored(part).cpu().numpy() for part in parts])

    drawing = Drawing(domain.field, model.label_names, None, n, lambda: iter([arrays]))
    if not model.conditional:
        arrays = stored(model.sample_batches(label, n, seed, temperature))  # refuses labels
        return Samples(arrays, (), domain, drawing)
    given, rows = _asked(label, attributes, n)
    if is_label(attributes):
        labels = rows[:, 0].astype(np.int64)
        numbers = numbers_of(attributes[0].labels)[labels]
        arrays = stored(model.sample_batches(numbers, n, seed, temperature))
        drawing = dataclasses.replace(drawing, labels=labels.tolist())
    else:
        arrays = stored(model.sample_given(n * len(rows), given, seed, temperature))
        drawing = dataclasses.replace(
            drawing, labels=list(range(len(rows))), attributes=attributes, given=given
        )
    columns = written(given(np.arange(len(arrays))), attributes)
    names = [each.name for each in attributes]
    words = tuple(dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True))
    return Samples(arrays, words, domain, drawing)


def _asked(label: Labels | None, attributes: Sequence[Attribute], n: int) -> tuple[Given, Values]:
    """What each example is given by its number, ``n`` of each row ``[R, A]``."""
    if label is None:
        usual = usual_rows(attributes)
        return usual.given(n), usual.rows
    if isinstance(label, Mapping):
        rows = asked_values(label, attributes)
    else:
        if not is_label(attributes):
            from distvae.checks import asked_conditions

            asked_conditions(label, attributes)  # tells how several attributes are asked for
        rows = label_indices(label, attributes[0].labels).astype(np.float32)[:, None]
    return (lambda images: rows[images // n]), rows


class Metrics(list[dict[str, Any]]):
    """A row for each line of a run's log, for ``pandas.DataFrame``; a notebook shows a table."""

    def _repr_html_(self) -> str:
        names = list(dict.fromkeys(name for row in self for name in row))
        rows = [[_shown(row.get(name, "")) for name in names] for row in self]
        return table(rows, names)


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
