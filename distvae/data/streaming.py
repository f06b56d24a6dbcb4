"""Training images that are read anew in every epoch, for data beyond memory and disk."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from distvae.attributes import Attribute, main_label
from distvae.config import DataConfig
from distvae.data.encoded import decode_image, encoded_image
from distvae.data.pixels import Reading, first_reading, read_picture
from distvae.data.roots import Root
from distvae.data.shards import Example, StreamOrder, finely
from distvae.data.sources.columns import is_array, kind_of
from distvae.data.sources.raw import UNLABELLED, Notes, RawData, Source, Tables
from distvae.data.sources.tables import choose, choose_columns, divided, read_tables
from distvae.errors import DistvaeError

SAMPLE = 10_000
"""Training images that are decoded and kept, for what needs some of them again and again."""
SAMPLE_BYTES = 2**28
"""How much they may take, which makes them fewer where they are large."""
SHARDS = 256
"""Into how many a table is cut that has none."""
CHUNK = 64


@dataclass(frozen=True, eq=False)
class Stream:
    """A training split that is read and not kept.

    ``images`` make an epoch; ``splits`` are the streams of ``datasets`` by name, the first of which
    is trained on, with encoded images and, where there is a ``label`` column, labels by number.
    Of several ``attributes``, each is a column, and the label is the first with labels.
    """

    config: DataConfig
    splits: Mapping[str, Any]
    image: str
    label: str | None
    label_count: int
    images: int
    root: Root | None
    notes: tuple[str, ...] = ()
    reading: Reading | None = None
    """How its images become pixels, once some of them were looked at."""
    only_labelled: bool = False
    """Whether images without a label are passed over."""
    attributes: tuple[Attribute, ...] = ()
    """Where images are given something else than one label."""

    @property
    def name(self) -> str:
        """That of the training split."""
        return next(iter(self.splits))

    def order(self, seed: int, rank: int, world_size: int) -> StreamOrder:
        """In which order a process sees its part.

        Raises:
            DistvaeError: there are more processes than shards.
        """
        table, buffer = self.splits[self.name], self.config.shuffle_buffer
        keep = self._is_labelled if self.only_labelled else None
        return StreamOrder(self.config.data, table, buffer, seed, rank, world_size, keep)

    def labelled(self, share: float) -> "Stream":
        """The same without the images that have no label.

        Args:
            share: of the labelled among all, as a sample has it, which makes an epoch shorter
                where its length was not asked for.
        """
        images = self.images if self.config.epoch_images else max(1, round(share * self.images))
        return replace(self, images=images, only_labelled=True)

    def _is_labelled(self, example: Example) -> bool:
        return self.number(example) != UNLABELLED

    def where(self, example: Example) -> str:
        """How to name an example's image in a message."""
        path = self.encoded(example)["path"]
        return f"{path or 'an image'} (split {self.name} of {self.config.data})"

    def encoded(self, example: Example) -> dict[str, Any]:
        """The ``bytes`` and ``path`` of an example's image."""
        where = f"a row of split {self.name} of {self.config.data}"
        return encoded_image(example[self.image], self.root, where)

    def number(self, example: Example) -> int:
        """The label of an example, :data:`UNLABELLED` where it is missing.

        Raises:
            DistvaeError: it is out of range.
        """
        return self._index(example, self.label, self.label_count) if self.label else UNLABELLED

    def values(self, example: Example) -> list[float]:
        """The attributes of an example, NaN where one is not known.

        Raises:
            DistvaeError: a label is out of range, or a number is infinite.
        """
        return [self._value(example, each) for each in self.attributes]

    def _value(self, example: Example, attribute: Attribute) -> float:
        if attribute.labels:
            index = self._index(example, attribute.name, len(attribute.labels))
            return math.nan if index == UNLABELLED else index
        found = example[attribute.name]
        number = math.nan if found is None else float(found)
        if math.isinf(number):
            raise DistvaeError(
                f"{self.where(example)} has the {attribute.name} {number}",
                "expected a finite number, or nothing",
                "Mend it, or choose another split by --split-train.",
            )
        return number

    def _index(self, example: Example, column: str, count: int) -> int:
        found = example[column]
        number: int = UNLABELLED if found is None else found
        if not UNLABELLED <= number < max(1, count):
            raise DistvaeError(
                f"{self.where(example)} has the label {number}",
                f"{column} knows 0..{count - 1}",
                "Mend it, or choose another split by --split-train.",
            )
        return number


def open_stream(source: Source, config: DataConfig) -> Stream:
    """The stream of a source's training split; reads no image.

    Raises:
        DistvaeError: the source cannot be streamed, has no test split, labels without names, or
            does not say how many images it has.
    """
    found = source.tables() if source.tables else None
    if found is None:
        raise DistvaeError(
            f"--streaming does not go with {config.data}",
            "it is no table or folder of encoded images, and is always decoded whole",
            "Leave out --streaming.",
        )
    notes = list(found.notes)
    there = divided(found.splits, config, notes)
    train, test = choose(there, config, notes)
    if test is None:
        raise DistvaeError(
            f"--streaming finds no test split in {config.data}",
            f"its splits are {', '.join(there)}, and none can be held out of what is not kept",
            "Write some of the images as a split of their own, and name it by --split-test.",
        )
    tables = {name: there[name] for name in (train, test)}
    image, labels = choose_columns(tables, config, [])
    features = tables[train].features
    if is_array(features[image]):
        raise DistvaeError(
            f"--streaming does not go with {config.data}",
            f"its column {image} holds numbers, which are always read whole",
            "Leave out --streaming.",
        )
    attributes = _attributes(features, labels, config)
    if attributes:
        main = main_label(attributes)
        label = None if main is None else attributes[main].name
    else:
        label = _label(features, labels, config, notes)
    kind = None if label is None else features[label]
    count = config.epoch_images or _length(tables[train], train, config.data)
    if not count:
        raise DistvaeError(f"split {train} of {config.data} has no images", "expected some")
    columns = [each.name for each in attributes] or ([label] if label else [])
    splits = {name: _as_stream(table, image, columns) for name, table in tables.items()}
    names = 0 if kind is None else len(kind.names)
    stream = Stream(config, splits, image, label, names, count, found.root, tuple(notes))
    return replace(stream, attributes=attributes)


def _attributes(
    features: Mapping[str, Any], columns: list[str], config: DataConfig
) -> tuple[Attribute, ...]:
    """What images are given where several columns are asked for, or one of real numbers."""
    import datasets

    if config.label_column is None:
        return ()
    attributes = []
    for name in columns:
        labels = isinstance(features[name], datasets.ClassLabel)
        if not labels and not kind_of(features[name]).startswith("float"):
            if len(columns) == 1:
                return ()
            raise _without_names(name, features, config)
        attributes.append(Attribute(name, tuple(features[name].names) if labels else ()))
    return () if len(attributes) == 1 and attributes[0].labels else tuple(attributes)


def _without_names(column: str, features: Mapping[str, Any], config: DataConfig) -> DistvaeError:
    return DistvaeError(
        f"--label-column {column} of {config.data} holds {features[column].dtype} without names",
        "with --streaming expected a ClassLabel or real numbers, as not all labels are seen before "
        "the end",
        "Cast the column to datasets.ClassLabel(names=...) and write the data anew.",
    )


def _label(
    features: Mapping[str, Any], candidates: list[str], config: DataConfig, notes: Notes
) -> str | None:
    """The first column whose labels have names."""
    import datasets

    for column in candidates:
        if isinstance(features[column], datasets.ClassLabel):
            return column
        if config.label_column is not None:
            raise _without_names(column, features, config)
        notes.append(f"column {column} has no names of labels, which --streaming needs: left out")
    return None


def _length(table: Any, name: str, data: str) -> int:
    if hasattr(table, "__len__"):
        return len(table)
    known = (table.info.splits or {}).get(name)
    if known is None or known.num_examples is None:
        raise DistvaeError(
            f"{data} does not say how many images its split {name} has",
            "with --streaming the length of an epoch must be known beforehand",
            "Tell it by --epoch-images, or write the data as parquet.",
        )
    count: int = known.num_examples
    return count


def _as_stream(table: Any, image: str, columns: list[str]) -> Any:
    """A table or stream as a stream of these columns, with images as they are encoded."""
    import datasets

    if hasattr(table, "__len__"):
        table = table.with_format(None).to_iterable_dataset(max(1, min(len(table), SHARDS)))
    table = table.select_columns([image, *(name for name in columns if name in table.features)])
    if isinstance(table.features[image], datasets.Image):
        table = table.cast_column(image, datasets.Image(decode=False))
    return table


def resident_part(stream: Stream, scratch: Path) -> RawData:
    """A sample of the training split and the whole test split, encoded, in files in ``scratch``."""
    config = stream.config
    train, test = stream.splits
    order = stream.order(config.split_seed, 0, 1)
    first, _ = next(order.examples(0))
    where = stream.where(first)
    reading = first_reading(decode_image, [(where, stream.encoded(first))], config)
    pixels = read_picture(decode_image, stream.encoded(first), where, reading).pixels
    count = min(SAMPLE, stream.images, max(1, SAMPLE_BYTES // pixels.size))
    taken = (example for example, _ in islice(order.examples(0), count))
    splits: dict[str, Iterable[Example]] = {train: taken, test: finely(stream.splits[test])}
    tables = {
        name: _written(examples, stream.splits[name].features, scratch / f"{name}.arrow")
        for name, examples in splits.items()
    }
    return read_tables(Tables(tables, list(stream.notes), stream.root), config)


def _written(examples: Iterable[Example], features: Any, path: Path) -> Any:
    """A table of these examples that lies in a file."""
    import datasets
    import pyarrow as pa

    schema, rows = features.arrow_schema, iter(examples)
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, schema) as writer:
        while chunk := list(islice(rows, CHUNK)):
            writer.write_table(pa.Table.from_pylist(chunk, schema))
    return datasets.Dataset.from_file(str(path))
